"""Ledger rows after their first write: held, delivered, settled by events of SES, converted."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database

from engager.ledger.backlog import Backlog
from engager.ledger.conversions import Conversions
from engager.ledger.ledger import MongoLedger
from engager.ledger.states import DeliveryResult, HeldActivation, State
from engager.mail_events import MailEventRecorder, RecordedMailEvent
from engager.send_rate_limiter import MongoSendRateLimiter
from shared.contracts import Activation, Conversion
from shared.errors import InvalidRequest
from shared.optouts import OptOuts
from tests.integration.decider.test_user_state import together
from tests.support.opt_outs import has_opted_out

NOW = 1_790_000_000_000
MINUTE = 60_000
Db = Database[dict[str, Any]]


def activation(name: str = "a1", **changes: Any) -> Activation:
    """Return an activation of an e-mail."""
    values: dict[str, Any] = {"attributes": {"item": "Book"}, "due": NOW, **changes}
    user = values.pop("user", "ada")
    return Activation(name, "demo", user, "mail", 1, "email", NOW, "Order", "m1", **values)


def event_of(kind: str, name: str = "a1", **details: Any) -> dict[str, Any]:
    """Return an event of SES, as EventBridge delivers it."""
    detail: dict[str, Any] = {
        "eventType": kind,
        "mail": {"messageId": "0100-ses", "destination": ["ada@example.com"], "tags": {"activation_id": [name]}},
    }
    if details:
        detail[kind.lower()] = {"timestamp": "2026-11-24T12:00:00.000Z", **details}
    return {"source": "aws.ses", "detail-type": f"Email {kind}", "detail": detail}


class Records:
    """The ledger and its neighbours on a database. ``now``: by its clock."""

    def __init__(self, database: Db) -> None:
        self.database, self.now = database, NOW
        rows = database.activations
        self.ledger = MongoLedger(rows, lambda: self.now)
        self.backlog = Backlog(rows, lambda: self.now)
        self.opt_outs = OptOuts(database.optouts)
        self.mail_events = MailEventRecorder(rows, self.opt_outs, lambda: self.now)
        self.conversions = Conversions(rows, database.conversions, lambda: self.now)

    def state(self, name: str = "a1") -> tuple[str, str | None]:
        """Return the state and the reason of a row."""
        row = self.database.activations.find_one({"_id": name}) or {}
        return row.get("state", "none"), row.get("reason")

    def hold(self, name: str = "a1", until: int = NOW + MINUTE) -> HeldActivation:
        """Hold an activation."""
        held = HeldActivation(activation(name), until, NOW)
        assert self.ledger.hold(held, "quiet_hours")
        return held


@pytest.fixture(name="records")
def _records(mongodb: Db) -> Records:
    return Records(mongodb)


def test_what_is_held_comes_back_whole_when_it_is_due(records: Records) -> None:
    """The whole activation is found when it is due, not earlier, and no longer once it is claimed."""
    records.hold()
    records.now = NOW + MINUTE - 1
    assert list(records.backlog.due()) == []
    records.now += 1
    (held,) = records.backlog.due()
    assert (held.activation, held.until, held.expected_at) == (activation(), NOW + MINUTE, NOW)
    assert records.ledger.claim(held.activation, held=held)
    assert list(records.backlog.due()) == []
    records.ledger.settle("a1", DeliveryResult(State.SENT, provider_id="p"))
    assert "held" not in (records.database.activations.find_one() or {})


def test_of_many_sweeps_one_claims(records: Records) -> None:
    """Eight sweeps find the same forty rows, and each row is claimed once."""
    found = [records.hold(f"a{n}") for n in range(40)]
    records.now += MINUTE
    claimed = together(
        8, lambda _: [held.activation.id for held in found if records.ledger.claim(held.activation, held=held)]
    )
    counts = Counter(name for names in claimed for name in names)
    assert counts == {f"a{n}": 1 for n in range(40)}


def test_a_cancellation_and_a_claim_have_one_winner(records: Records) -> None:
    """A sweep and a cancellation at once, a hundred times: each row is either suppressed or sending."""
    for n in range(100):
        held = records.hold(f"a{n}", NOW)
        cancelled = activation(f"a{n}", suppressed="cancelled")
        claimed, _ = together(
            2,
            lambda who, held=held, cancelled=cancelled: (
                records.ledger.record_suppressed([cancelled])
                if who
                else records.ledger.claim(held.activation, held=held)
            ),
        )
        state = records.state(f"a{n}")
        assert state == (("sending", None) if claimed else ("suppressed", "cancelled"))


def test_a_copy_from_the_queue_does_not_claim_a_held_row(records: Records) -> None:
    """A copy of the message finds the row held and stops; a sweep delivers it."""
    records.hold()
    assert not records.ledger.claim(activation())
    assert records.state() == ("held", "quiet_hours")


@pytest.mark.parametrize("kind", ["Send", "Delivery"])
@pytest.mark.parametrize("before", [State.UNKNOWN, State.SENDING, State.SENT])
def test_an_event_settles_an_unknown_row(records: Records, kind: str, before: State) -> None:
    """SES accepted the e-mail: the row becomes sent, with the id of SES. Repeats change nothing."""
    assert records.ledger.claim(activation())
    if before is not State.SENDING:
        records.ledger.settle("a1", DeliveryResult(before, "ReadTimeoutError" if before is State.UNKNOWN else None))
    for _ in range(2):
        assert records.mail_events(event_of(kind, recipients=["ada@example.com"])) == RecordedMailEvent(
            kind, known=True
        )
    assert records.state() == ("sent", None)
    assert (records.database.activations.find_one() or {})["provider_id"] == "0100-ses"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (event_of("Bounce", bounceType="Permanent"), "bounce"),
        (event_of("Bounce", bounceType="Transient"), None),
        (event_of("Complaint", complaintFeedbackType="abuse"), "complaint"),
    ],
)
def test_a_bounce_and_a_complaint_opt_out(records: Records, event: dict[str, Any], reason: str | None) -> None:
    """A permanent bounce and a complaint opt the user out of e-mail only."""
    assert records.ledger.claim(activation())
    records.ledger.settle("a1", DeliveryResult(State.SENT))
    assert records.mail_events(event).opted_out == reason
    assert has_opted_out(records.database, "demo", "ada", "email") is (reason is not None)
    assert not has_opted_out(records.database, "demo", "ada", "sms")
    assert records.state() == ("sent", None)


def test_events_of_other_emails_and_types_change_nothing(records: Records) -> None:
    """Events without a tag, of an unknown activation or of another type are ignored. Invalid events are refused."""
    untagged = event_of("Send")
    untagged["detail"]["mail"]["tags"] = {}
    for event in (untagged, event_of("Send", "unknown"), event_of("Open")):
        assert not records.mail_events(event).known
    assert records.database.activations.count_documents({}) == 0
    with pytest.raises(InvalidRequest, match="not an event of SES"):
        records.mail_events({"source": "aws.ses", "detail": {"mail": "ada@example.com"}})


def test_a_goal_marks_its_row_once(records: Records) -> None:
    """The earliest time is kept, whatever the row's state; rows in the holdout count too."""
    records.ledger.record_suppressed([activation("a1", suppressed="holdout")])
    for at in (NOW + 5, NOW + 1, NOW + 9):
        records.conversions.mark([Conversion("a1", at)])
    row = records.database.activations.find_one() or {}
    assert (row["state"], row["converted"]) == (
        "held_out",
        datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(milliseconds=1),
    )


def test_a_goal_before_its_row_waits_for_it(records: Records) -> None:
    """A goal may come before its row. Once the row exists, it is marked, and the early conversion is deleted."""
    records.conversions.mark([Conversion("a1", NOW), Conversion("a2", NOW)])
    assert records.conversions.apply_early() == 0
    assert records.ledger.claim(activation())
    assert records.conversions.apply_early() == 1
    assert "converted" in (records.database.activations.find_one({"_id": "a1"}) or {})
    assert [row["_id"] for row in records.database.conversions.find()] == ["a2"]


def test_the_rate_limit_holds_under_many_threads(mongodb: Db) -> None:
    """Sixteen threads ask for ten sends each, and a hundred are allowed. The next minute counts separately."""
    limiter = MongoSendRateLimiter(mongodb.send_rates)
    acquired = together(16, lambda _: sum(limiter.acquire("demo", "email", 100, NOW) for _ in range(10)))
    assert sum(acquired) == 100
    assert limiter.acquire("demo", "email", 100, NOW + MINUTE)
    assert limiter.acquire("demo", "sms", 100, NOW)
    assert not limiter.acquire("demo", "push", 0, NOW)


def test_an_event_about_a_forgotten_user_leaves_no_trace(records: Records) -> None:
    """The row has a pseudonym by now: it gets no provider id, and no opt-out is recorded."""
    assert records.ledger.claim(activation(user="forgotten:0123456789abcdef"))
    assert not records.mail_events(event_of("Bounce", bounceType="Permanent")).known
    assert "provider_id" not in (records.database.activations.find_one() or {})
    assert records.database.optouts.count_documents({}) == 0
