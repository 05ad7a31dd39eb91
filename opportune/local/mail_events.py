"""Report the outcome of each e-mail to the Engager, as SES does through EventBridge, within about a second.

As with the mailbox simulator of SES, the address decides the outcome. The domain and a label after a plus
sign (bounce+anna@…) make no difference:

    bounce@…      Send, Bounce (permanent)
    complaint@…   Send, Delivery, Complaint
    unknown@…     Send, Delivery; but the call to SES fails, so only this report tells the outcome (see Recorder)
    any other     Send, Delivery

https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator
"""

import logging
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from opportune.local import accepted
from opportune.local.accepted import Accepted
from opportune.local.environments import InvocationResult
from opportune.system.errors import LocalStackError

BOUNCE, COMPLAINT, UNKNOWN = "bounce", "complaint", "unknown"
_NAMES = {
    "Send": "Email Sent",
    "Delivery": "Email Delivered",
    "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received",
}
_LOG = logging.getLogger("opportune.local.mail_events")


class MailEvents:
    """Reports each e-mail that the stand-in at *aws_url* accepted to the *engager*, once."""

    def __init__(self, aws_url: str, engager: Callable[[bytes], InvocationResult]) -> None:
        self._aws_url = aws_url
        self._engager = engager
        self._since = 0
        self._reported: set[str] = set()  # ids of the e-mails accepted at `_since`

    def __call__(self, _: bytes = b"") -> None:
        """Report, as the call of a `Schedule`. After a failure the next call reports again."""
        try:
            self.report()
        except LocalStackError as error:
            _LOG.warning("cannot report e-mails: %s", error.message)

    def report(self) -> int:
        """Report all new e-mails; return how many."""
        count = 0
        for mail in accepted.fetch(self._aws_url, since=self._since):
            if mail.channel != "email" or mail.id in self._reported:
                continue
            for event in events(mail):
                answer = self._engager(msgspec.json.encode(event))
                if answer.error:
                    raise LocalStackError(f"the Engager failed on an SES event: {answer.error}")
            if mail.at > self._since:
                self._since, self._reported = mail.at, set()
            self._reported.add(mail.id)
            count += 1
        return count


def events(mail: Accepted) -> Iterator[dict[str, Any]]:
    """Yield the SES events of *mail* in the order in which they happen."""
    kind = simulated(mail.to)
    yield _event(mail, "Send")
    if kind == BOUNCE:
        yield _event(mail, "Bounce", bounceType="Permanent", bounceSubType="General")
        return
    yield _event(mail, "Delivery")
    if kind == COMPLAINT:
        yield _event(mail, "Complaint", complaintFeedbackType="abuse")


def simulated(to: list[str]) -> str:
    """Return the outcome that the first address in *to* asks for: its local part without the label."""
    return to[0].partition("@")[0].partition("+")[0].lower() if to else ""


def _event(mail: Accepted, kind: str, **details: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(mail.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tags = {"activation_id": [mail.activation]} if mail.activation else {}
    described = {"timestamp": at, "source": mail.sender, "messageId": mail.id, "destination": mail.to, "tags": tags}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": _NAMES[kind],
        "source": "aws.ses",
        "time": at,
        "resources": [],
        "detail": {"eventType": kind, "mail": described, kind.lower(): {"timestamp": at, **details}},
    }
