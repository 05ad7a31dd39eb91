"""SNS as a client in memory that answers, refuses or falls silent as a test says."""

from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

TIMED_OUT = ReadTimeoutError(endpoint_url="https://sns")
UNREACHABLE = EndpointConnectionError(endpoint_url="https://sns")


def refusal(code: str, status: int) -> ClientError:
    """Return the error that boto3 raises for an answer of SNS."""
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "Publish")


@dataclass
class FakeSns:
    """Keeps what is published. ``check``, ``fails``: what asking, and publishing, raises."""

    opted_out: frozenset[str] = frozenset()
    check: Exception | None = None
    fails: Exception | None = None
    published: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def check_if_phone_number_is_opted_out(self, *, phoneNumber: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Say whether a number has opted out."""
        self.asked.append(phoneNumber)
        if self.check:
            raise self.check
        return {"isOptedOut": phoneNumber in self.opted_out}

    def publish(self, **request: Any) -> dict[str, Any]:
        """Take a message."""
        self.published.append(request)
        if self.fails:
            raise self.fails
        return {"MessageId": "sns-1"}
