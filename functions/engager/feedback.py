"""What SES reports of e-mails, by EventBridge: the proof that one was taken, and who must not get another.

    Send, Delivery, Bounce, Complaint   SES had taken it: sending, unknown … ─▶ sent
    Reject                              SES had taken it and then found a virus in it: failed_final
    permanent Bounce, Complaint         opt-out of e-mail

Events come twice, late and in any order: every change is the same whichever comes first. The activation is found
by the tag that its e-mail was sent with; https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

import re
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec
from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import NO_LONGER_HELD, moment
from engager.ledger.states import State
from shared.clock import Clock
from shared.errors import InvalidRequest
from shared.mongodb import Document, translate_errors
from shared.signing import FORGOTTEN

SOURCE = "aws.ses"
TAG = "activation_id"
CHANNEL = "email"
PERMANENT = "Permanent"
# What SES says happened → the field with its time.
TIMES = {"Send": None, "Delivery": "delivered", "Bounce": "bounced", "Complaint": "complained", "Reject": "rejected"}
NOT_SENT = [State.SENDING.value, State.UNKNOWN.value, State.FAILED_RETRYABLE.value, State.HELD.value]


class OptOuts(Protocol):
    """Where users are opted out; see `shared.optouts`."""

    def add(self, site: str, user: str, channel: str, reason: str) -> object: ...


class Mail(msgspec.Struct, rename="camel"):
    """The e-mail that an event is about."""

    message_id: str
    tags: dict[str, list[str]] = {}


class Happening(msgspec.Struct, rename="camel"):
    """When it happened, and of which kind it was."""

    timestamp: datetime | None = None
    bounce_type: str = ""


class Detail(msgspec.Struct, rename="camel"):
    """An event of SES."""

    event_type: str
    mail: Mail
    delivery: Happening | None = None
    bounce: Happening | None = None
    complaint: Happening | None = None


class Noted(NamedTuple):
    """What came of an event: its type, ``known`` where it concerns a row, ``opted_out``: the reason, if any."""

    event: str
    known: bool
    opted_out: str | None = None


class Feedback:
    """Writes into the ledger's *rows* and the opt-outs what SES reports. Raises `Unavailable`, `InvalidRequest`."""

    def __init__(self, rows: Collection[Document], opt_outs: OptOuts, clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._opt_outs = opt_outs
        self._clock = clock

    def __call__(self, event: dict[str, Any]) -> Noted:
        """Note *event*, as EventBridge delivers it; one of another kind, or of no row, changes nothing."""
        try:
            detail = msgspec.convert(event.get("detail"), Detail)
        except msgspec.ValidationError as error:
            # Without the words, which may quote an address.
            raise InvalidRequest("not an event of SES", code="invalid_feedback") from error
        ids = detail.mail.tags.get(TAG)
        if not ids or detail.event_type not in TIMES:
            return Noted(detail.event_type, known=False)
        happening = detail.delivery or detail.bounce or detail.complaint or Happening()
        row = self._note(ids[0], detail, happening)
        if row is None:
            return Noted(detail.event_type, known=False)
        reason = detail.event_type.lower() if _is_final(detail) else None
        if reason is not None:
            self._opt_outs.add(row["site"], row["user"], CHANNEL, reason)
        return Noted(detail.event_type, known=True, opted_out=reason)

    def _note(self, activation_id: str, detail: Detail, happening: Happening) -> Document | None:
        now = moment(self._clock())
        changes: Document = {"$set": {"provider_id": detail.mail.message_id}}
        field = TIMES[detail.event_type]
        if field is not None:
            changes["$min"] = {field: happening.timestamp or now}
        # Somebody who was forgotten in the meantime gets no new traces.
        row: Document = {"_id": activation_id, "channel": CHANNEL, "user": {"$not": re.compile(f"^{FORGOTTEN}:")}}
        with translate_errors():
            found = self._rows.find_one_and_update(
                row, changes, {"site": 1, "user": 1, "state": 1}, return_document=ReturnDocument.AFTER
            )
            if found is not None:
                before, after = _step(detail.event_type)
                if found["state"] in before:
                    settled: Document = {"$set": after | {"updated": now}, "$unset": dict(NO_LONGER_HELD)}
                    if "reason" not in after:
                        settled["$unset"]["reason"] = ""
                    self._rows.update_one({**row, "state": {"$in": before}}, settled)
        return found


def _step(event_type: str) -> tuple[list[str], Document]:
    """Return which states an event ends, and what they become."""
    if event_type == "Reject":
        return [*NOT_SENT, State.SENT.value], {"state": State.FAILED_FINAL.value, "reason": "rejected"}
    return NOT_SENT, {"state": State.SENT.value}


def _is_final(detail: Detail) -> bool:
    if detail.event_type == "Bounce":
        return detail.bounce is not None and detail.bounce.bounce_type == PERMANENT
    return detail.event_type == "Complaint"
