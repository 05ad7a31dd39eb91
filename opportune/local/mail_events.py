"""What SES tells EventBridge of each mail: here, the Engager hears it within a second or so.

As with the mailbox simulator of SES, the address decides what becomes of a mail, whatever its domain, and with a label
after a plus sign (bounce+anna@…) or without:

    bounce@…      Send, Bounce (permanent)
    complaint@…   Send, Delivery, Complaint
    unknown@…     Send, Delivery; but SES answers the call with an error, so that nobody knows until then (see Recorder)
    all others    Send, Delivery

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
    """Tells *engager* of the mails that the stand-in at *aws_url* has accepted, each once."""

    def __init__(self, aws_url: str, engager: Callable[[bytes], InvocationResult]) -> None:
        self._aws_url = aws_url
        self._engager = engager
        self._since = 0
        self._told: set[str] = set()  # of those at `since`

    def __call__(self, _: bytes = b"") -> None:
        """Tell, as the call of a `Schedule`; what could not be told is told the next time."""
        try:
            self.tell()
        except LocalStackError as error:
            _LOG.warning("mails are not reported: %s", error.message)

    def tell(self) -> int:
        """Tell of all that is new; return how many mails that were."""
        count = 0
        for mail in accepted.fetch(self._aws_url, since=self._since):
            if mail.channel != "email" or mail.id in self._told:
                continue
            for event in events(mail):
                answer = self._engager(msgspec.json.encode(event))
                if answer.error:
                    raise LocalStackError(f"the Engager refused an event of SES: {answer.error}")
            if mail.at > self._since:
                self._since, self._told = mail.at, set()
            self._told.add(mail.id)
            count += 1
        return count


def events(mail: Accepted) -> Iterator[dict[str, Any]]:
    """Yield the events of *mail* in the order in which they happen."""
    kind = simulated(mail.to)
    yield _event(mail, "Send")
    if kind == BOUNCE:
        yield _event(mail, "Bounce", bounceType="Permanent", bounceSubType="General")
        return
    yield _event(mail, "Delivery")
    if kind == COMPLAINT:
        yield _event(mail, "Complaint", complaintFeedbackType="abuse")


def simulated(to: list[str]) -> str:
    """Return what the first of the addresses *to* asks for: its name without domain and label."""
    return to[0].partition("@")[0].partition("+")[0].lower() if to else ""


def _event(mail: Accepted, kind: str, **details: Any) -> dict[str, Any]:
    at = datetime.fromtimestamp(mail.at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    tags = {"activation_id": [mail.activation]} if mail.activation else {}
    told = {"timestamp": at, "source": mail.sender, "messageId": mail.id, "destination": mail.to, "tags": tags}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": _NAMES[kind],
        "source": "aws.ses",
        "time": at,
        "resources": [],
        "detail": {"eventType": kind, "mail": told, kind.lower(): {"timestamp": at, **details}},
    }
