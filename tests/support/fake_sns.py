"""An SNS client in memory that accepts, refuses or times out, as a test says."""

from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

TIMED_OUT = ReadTimeoutError(endpoint_url="https://sns")
UNREACHABLE = EndpointConnectionError(endpoint_url="https://sns")


def refusal(code: str, status: int) -> ClientError:
    """Return the error that boto3 raises for a refusal of SNS."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Publish")


@dataclass
class FakeSns:
    """Keeps what is published. ``check_error``, ``publish_error``: what the two calls raise."""

    opted_out: frozenset[str] = frozenset()
    check_error: Exception | None = None
    publish_error: Exception | None = None
    published: list[dict[str, Any]] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def check_if_phone_number_is_opted_out(self, *, phoneNumber: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        """Return whether a number has opted out."""
        self.checked.append(phoneNumber)
        if self.check_error:
            raise self.check_error
        return {"isOptedOut": phoneNumber in self.opted_out}

    def publish(self, **request: Any) -> dict[str, Any]:
        """Accept a message."""
        self.published.append(request)
        if self.publish_error:
            raise self.publish_error
        return {"MessageId": "sns-1"}
