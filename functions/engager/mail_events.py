"""E-mail events that SES sends through EventBridge: proof that SES accepted an e-mail, and opt-outs.

    Send, Delivery, Bounce, Complaint   SES accepted it: sending, unknown … ─▶ sent
    Reject                              SES accepted it, then found a virus: failed_final
    permanent Bounce, Complaint         opt-out of e-mail

Events may arrive twice, late and in any order; the order makes no difference. An event finds its activation by the tag
that the e-mail was sent with. See
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

import re
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import to_datetime
from engager.ledger.recalls import UNSET_OPEN
from engager.ledger.states import State
from shared.clock import Clock
from shared.errors import InvalidRequest
from shared.mongodb import Document, translate_errors
from shared.signing import FORGOTTEN
from shared.text import is_storable

SOURCE = "aws.ses"
TAG = "activation_id"
CHANNEL = "email"
PERMANENT = "Permanent"
# Event type → the row's field for its time.
TIME_FIELDS = {
    "Send": None,
    "Delivery": "delivered",
    "Bounce": "bounced",
    "Complaint": "complained",
    "Reject": "rejected",
}
NOT_SENT = [State.SENDING.value, State.UNKNOWN.value, State.FAILED_RETRYABLE.value, State.HELD.value]


class OptOutWriter(Protocol):
    """Opts users out of a channel; see `shared.optouts`."""

    def add(self, site: str, user: str, channel: str, reason: str) -> object: ...


class Mail(msgspec.Struct, rename="camel"):
    """The e-mail of an event."""

    message_id: str
    tags: dict[str, list[str]] = {}


class TypeDetails(msgspec.Struct, rename="camel"):
    """The part of an event that only its type has."""

    timestamp: datetime | None = None
    bounce_type: str = ""


class Detail(msgspec.Struct, rename="camel"):
    """The ``detail`` of an event, as SES describes it."""

    event_type: str
    mail: Mail
    delivery: TypeDetails | None = None
    bounce: TypeDetails | None = None
    complaint: TypeDetails | None = None


class RecordedMailEvent(NamedTuple):
    """The result of an event.

    ``event``: its type.
    ``known``: whether a row has its activation.
    ``opted_out``: the reason of the opt-out, if it led to one.
    """

    event: str
    known: bool
    opted_out: str | None = None


class MailEventRecorder:
    """Records events of SES in the ledger's *rows* and in the opt-outs. Raises `Unavailable`, `InvalidRequest`."""

    def __init__(self, rows: Collection[Document], opt_outs: OptOutWriter, clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._opt_outs = opt_outs
        self._clock = clock

    def __call__(self, event: dict[str, Any]) -> RecordedMailEvent:
        """Record *event*, as EventBridge delivers it. An event of another type, or without a row, changes nothing."""
        try:
            detail = msgspec.convert(event.get("detail"), Detail)
        except msgspec.ValidationError as error:
            # Without the error's text, which may quote an address.
            raise InvalidRequest("not an event of SES", code="invalid_mail_event") from error
        if not is_storable(detail.mail.message_id):
            raise InvalidRequest("not an event of SES: its message id is not text", code="invalid_mail_event")
        ids = detail.mail.tags.get(TAG)
        if not ids or detail.event_type not in TIME_FIELDS or not is_storable(ids[0]):
            return RecordedMailEvent(detail.event_type, known=False)
        row = self._update_row(ids[0], detail)
        if row is None:
            return RecordedMailEvent(detail.event_type, known=False)
        reason = detail.event_type.lower() if _is_opt_out(detail) else None
        if reason is not None:
            self._opt_outs.add(row["site"], row["user"], CHANNEL, reason)
        return RecordedMailEvent(detail.event_type, known=True, opted_out=reason)

    def _update_row(self, activation_id: str, detail: Detail) -> Document | None:
        now = to_datetime(self._clock())
        changes: Document = {"$set": {"provider_id": detail.mail.message_id}}
        field = TIME_FIELDS[detail.event_type]
        if field is not None:
            details = detail.delivery or detail.bounce or detail.complaint or TypeDetails()
            changes["$min"] = {field: details.timestamp or now}
        # A user who was forgotten meanwhile leaves no new traces.
        row: Document = {"_id": activation_id, "channel": CHANNEL, "user": {"$not": re.compile(f"^{FORGOTTEN}:")}}
        with translate_errors():
            found = self._rows.find_one_and_update(
                row, changes, {"site": 1, "user": 1, "state": 1}, return_document=ReturnDocument.AFTER
            )
            if found is not None:
                before, after = _transition(detail.event_type)
                if found["state"] in before:
                    settled: Document = {"$set": after | {"updated": now}, "$unset": dict(UNSET_OPEN)}
                    if "reason" not in after:
                        settled["$unset"]["reason"] = ""
                    self._rows.update_one({**row, "state": {"$in": before}}, settled)
        return found


def _transition(event_type: str) -> tuple[list[str], Document]:
    """Return the states that an event ends, and the fields that it sets."""
    if event_type == "Reject":
        return [*NOT_SENT, State.SENT.value], {"state": State.FAILED_FINAL.value, "reason": "rejected"}
    return NOT_SENT, {"state": State.SENT.value}


def _is_opt_out(detail: Detail) -> bool:
    if detail.event_type == "Bounce":
        return detail.bounce is not None and detail.bounce.bounce_type == PERMANENT
    return detail.event_type == "Complaint"
