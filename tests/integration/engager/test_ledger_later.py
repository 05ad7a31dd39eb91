"""What happens to a row of the ledger after it was written: held and released, reported on, converted."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.database import Database

from engager.feedback import Feedback, Noted
from engager.ledger.backlog import Backlog
from engager.ledger.conversions import Conversions
from engager.ledger.ledger import MongoLedger
from engager.ledger.states import Held, Outcome, State
from engager.send_rate_limiter import SendRateLimiter
from shared.contracts import Activation, Conversion
from shared.errors import InvalidRequest
from shared.optouts import OptOuts
from tests.integration.decider.test_user_state import together

NOW = 1_790_000_000_000
MINUTE = 60_000
Db = Database[dict[str, Any]]


def activation(name: str = "a1", **changes: Any) -> Activation:
    """Return an activation of an e-mail."""
    values: dict[str, Any] = {"attributes": {"item": "Book"}, "due": NOW, **changes}
    user = values.pop("user", "ada")
    return Activation(name, "demo", user, "mail", 1, "email", NOW, "Order", "m1", **values)


def report(kind: str, name: str = "a1", **details: Any) -> dict[str, Any]:
    """Return an event of SES as EventBridge delivers it."""
    detail: dict[str, Any] = {
        "eventType": kind,
        "mail": {"messageId": "0100-ses", "destination": ["ada@example.com"], "tags": {"activation_id": [name]}},
    }
    if details:
        detail[kind.lower()] = {"timestamp": "2026-11-24T12:00:00.000Z", **details}
    return {"source": "aws.ses", "detail-type": f"Email {kind}", "detail": detail}


class Books:
    """The ledger and what goes with it, on a database; ``now``: by its clock."""

    def __init__(self, database: Db) -> None:
        self.database, self.now = database, NOW
        rows = database.activations
        self.ledger = MongoLedger(rows, lambda: self.now)
        self.backlog = Backlog(rows, lambda: self.now)
        self.opt_outs = OptOuts(database.optouts)
        self.feedback = Feedback(rows, self.opt_outs, lambda: self.now)
        self.conversions = Conversions(rows, database.conversions, lambda: self.now)

    def state(self, name: str = "a1") -> tuple[str, str | None]:
        """Return state and reason of a row."""
        row = self.database.activations.find_one({"_id": name}) or {}
        return row.get("state", "none"), row.get("reason")

    def hold(self, name: str = "a1", until: int = NOW + MINUTE) -> Held:
        """Hold an activation."""
        held = Held(activation(name), until, NOW)
        assert self.ledger.hold(held, "quiet_hours")
        return held


@pytest.fixture(name="books")
def _books(mongodb: Db) -> Books:
    return Books(mongodb)


def test_what_is_held_comes_back_whole_when_it_is_due(books: Books) -> None:
    """Not a moment before, with all that its delivery needs; once it is claimed, nobody finds it again."""
    books.hold()
    books.now = NOW + MINUTE - 1
    assert list(books.backlog.due()) == []
    books.now += 1
    (held,) = books.backlog.due()
    assert (held.activation, held.until, held.since) == (activation(), NOW + MINUTE, NOW)
    assert books.ledger.claim(held.activation, held=held)
    assert list(books.backlog.due()) == []
    books.ledger.settle("a1", Outcome(State.SENT, provider_id="p"))
    assert "held" not in (books.database.activations.find_one() or {})


def test_of_many_sweeps_one_claims(books: Books) -> None:
    """Eight sweeps have found the same forty rows: each row is claimed once."""
    found = [books.hold(f"a{n}") for n in range(40)]
    books.now += MINUTE
    claimed = together(
        8, lambda _: [held.activation.id for held in found if books.ledger.claim(held.activation, held=held)]
    )
    counts = Counter(name for names in claimed for name in names)
    assert counts == {f"a{n}": 1 for n in range(40)}


def test_a_cancellation_and_a_release_have_one_winner(books: Books) -> None:
    """A hundred times a sweep and a cancelling record at once: suppressed or sending, never both, never neither."""
    for n in range(100):
        held = books.hold(f"a{n}", NOW)
        record = activation(f"a{n}", suppressed="cancelled")
        released, _ = together(
            2,
            lambda who, held=held, record=record: (
                books.ledger.suppress([record]) if who else books.ledger.claim(held.activation, held=held)
            ),
        )
        state = books.state(f"a{n}")
        assert state == (("sending", None) if released else ("suppressed", "cancelled"))


def test_a_copy_from_the_queue_does_not_release_what_is_held(books: Books) -> None:
    """The message comes again while its row is held: it is done, the sweep will see to it."""
    books.hold()
    assert not books.ledger.claim(activation())
    assert books.state() == ("held", "quiet_hours")


@pytest.mark.parametrize("kind", ["Send", "Delivery"])
@pytest.mark.parametrize("before", [State.UNKNOWN, State.SENDING, State.SENT])
def test_a_report_settles_what_was_unknown(books: Books, kind: str, before: State) -> None:
    """SES says that it had the mail: sent, with its id; twice is as good as once."""
    assert books.ledger.claim(activation())
    if before is not State.SENDING:
        books.ledger.settle("a1", Outcome(before, "ReadTimeoutError" if before is State.UNKNOWN else None))
    for _ in range(2):
        assert books.feedback(report(kind, recipients=["ada@example.com"])) == Noted(kind, known=True)
    assert books.state() == ("sent", None)
    assert (books.database.activations.find_one() or {})["provider_id"] == "0100-ses"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (report("Bounce", bounceType="Permanent"), "bounce"),
        (report("Bounce", bounceType="Transient"), None),
        (report("Complaint", complaintFeedbackType="abuse"), "complaint"),
    ],
)
def test_a_bounce_and_a_complaint_opt_out(books: Books, event: dict[str, Any], reason: str | None) -> None:
    """For good where it is permanent: of e-mail, and of nothing else."""
    assert books.ledger.claim(activation())
    books.ledger.settle("a1", Outcome(State.SENT))
    assert books.feedback(event).opted_out == reason
    assert books.opt_outs.has("demo", "ada", "email") is (reason is not None)
    assert not books.opt_outs.has("demo", "ada", "sms")
    assert books.state() == ("sent", None)


def test_reports_of_other_mails_and_kinds_change_nothing(books: Books) -> None:
    """No tag, an unknown activation, a kind of event that says nothing; and what is no event is refused."""
    strange = report("Send")
    strange["detail"]["mail"]["tags"] = {}
    for event in (strange, report("Send", "nobody"), report("Open")):
        assert not books.feedback(event).known
    assert books.database.activations.count_documents({}) == 0
    with pytest.raises(InvalidRequest, match="not an event of SES"):
        books.feedback({"source": "aws.ses", "detail": {"mail": "ada@example.com"}})


def test_a_goal_marks_its_row_once(books: Books) -> None:
    """The first time stays, whatever state the row is in; held out counts too."""
    books.ledger.suppress([activation("a1", suppressed="holdout")])
    for at in (NOW + 5, NOW + 1, NOW + 9):
        books.conversions.mark([Conversion("a1", at)])
    row = books.database.activations.find_one() or {}
    assert (row["state"], row["converted"]) == (
        "held_out",
        datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(milliseconds=1),
    )


def test_a_goal_before_its_row_waits_for_it(books: Books) -> None:
    """The purchase is faster than the queue: carried over as soon as the row is there, and then forgotten."""
    books.conversions.mark([Conversion("a1", NOW), Conversion("a2", NOW)])
    assert books.conversions.catch_up() == 0
    assert books.ledger.claim(activation())
    assert books.conversions.catch_up() == 1
    assert "converted" in (books.database.activations.find_one({"_id": "a1"}) or {})
    assert [row["_id"] for row in books.database.conversions.find()] == ["a2"]


def test_a_ceiling_holds_under_many_threads(mongodb: Db) -> None:
    """Sixteen threads want ten places each of a hundred: a hundred are given; the next minute has its own."""
    ceilings = SendRateLimiter(mongodb.ceilings)
    taken = together(16, lambda _: sum(ceilings.take("demo", "email", 100, NOW) for _ in range(10)))
    assert sum(taken) == 100
    assert ceilings.take("demo", "email", 100, NOW + MINUTE)
    assert ceilings.take("demo", "sms", 100, NOW)
    assert not ceilings.take("demo", "push", 0, NOW)


def test_a_report_about_somebody_forgotten_leaves_no_trace(books: Books) -> None:
    """His row has a pseudonym by now: no provider's id comes to it, and no opt-out is made of it."""
    assert books.ledger.claim(activation(user="forgotten:0123456789abcdef"))
    assert not books.feedback(report("Bounce", bounceType="Permanent")).known
    assert "provider_id" not in (books.database.activations.find_one() or {})
    assert books.database.optouts.count_documents({}) == 0
