"""The row `state_lost`: the state store does not know an activation whose doorbell has rung twice.

The class of fault: a record that says "nothing is known" wins over something that is known, because it came first. A
copy from the queue, a hold, a stop, a cancellation, a goal, the holdout, or `opportune forget` may come later. Each of
them replaces the row, or keeps it from being sent, and it is sent at most once. The record itself replaces nothing.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from engager.handler import create_handler
from engager.ledger.states import DeliveryResult, HeldActivation, State
from shared.contracts import Activation, Conversion, Engage
from shared.signing import pseudonym
from tests.integration.decider.test_user_state import together
from tests.integration.engager.test_engager import (
    NOW,
    Db,
    FakeSes,
    _ses,  # noqa: F401 - a fixture
    _site,  # noqa: F401 - a fixture
    activation,
    deliver,
    deps,
    row,
)
from tests.integration.engager.test_ledger_later import Records
from tests.integration.engager.test_recalls import RECALLS, THROTTLED, forget_user
from tests.support.lambdas import Context

MINUTE = 60_000
SECRET = "s" * 32


@pytest.fixture(name="records")
def _records(mongodb: Db) -> Records:
    return Records(mongodb)


def lost(name: str = "a1", **changes: Any) -> Activation:
    """Return what a doorbell carries."""
    return activation(name, suppressed="state_lost", attributes={}, **changes)


def lose(records: Records, name: str = "a1") -> None:
    """Record the loss of an activation."""
    assert records.ledger.record_suppressed([lost(name)]) == set()
    assert records.state(name) == ("suppressed", "state_lost")


def test_a_late_copy_is_sent_once(records: Records) -> None:
    """Eight copies at once: one of them claims the row, and it has no trace of the loss."""
    for number in range(20):
        name = f"a{number}"
        lose(records, name)

        def claim(_: int, name: str = name) -> bool:
            try:
                return records.ledger.claim(activation(name))
            except Exception:  # noqa: BLE001 - being sent by another
                return False

        assert sum(together(8, claim)) == 1
        records.ledger.settle(name, DeliveryResult(State.SENT))
        assert records.state(name) == ("sent", None)
        assert not records.ledger.claim(activation(name))


def test_a_late_copy_may_be_held_or_stopped(records: Records) -> None:
    """Quiet hours hold it, and any other gate says its reason."""
    for name in ("a1", "a2"):
        lose(records, name)
    assert records.ledger.hold(HeldActivation(activation("a1"), NOW, NOW), "quiet_hours")
    assert records.ledger.claim(activation("a2"), State.SUPPRESSED, "opt_out")
    assert records.state("a1") == ("held", "quiet_hours")
    assert records.state("a2") == ("suppressed", "opt_out")
    (held,) = records.backlog.due()
    assert records.ledger.claim(held.activation, held=held)


@pytest.mark.parametrize("recall", RECALLS)
def test_a_recall_keeps_a_late_copy_from_being_sent(records: Records, recall: str) -> None:
    """Whatever recalls it: the copy can neither claim the row nor hold it."""
    lose(records)
    RECALLS[recall][0](records)
    assert not records.ledger.claim(activation())
    assert not records.ledger.hold(HeldActivation(activation(), NOW, NOW), "quiet_hours")
    assert records.state()[0] == "suppressed"


@pytest.mark.parametrize(
    ("reason", "ends"), [("cancelled", "suppressed"), ("goal", "suppressed"), ("holdout", "held_out")]
)
def test_a_record_replaces_the_loss(records: Records, reason: str, ends: str) -> None:
    """The state store knew it after all, for example because a replica has caught up."""
    lose(records)
    records.ledger.record_suppressed([activation(suppressed=reason)])
    assert records.state() == (ends, reason)
    assert "recalled" not in row(records.database)
    assert not records.ledger.claim(activation())


def test_a_conversion_leaves_the_row_out_of_the_comparison(records: Records) -> None:
    """It never came due, so it must not count as a message that was stopped by its goal. Its time is kept."""
    lose(records)
    records.conversions.mark([Conversion("a1", NOW, calls_back=True)])
    assert records.state() == ("suppressed", "state_lost")
    assert "converted" in row(records.database)


def test_an_early_conversion_reaches_a_lost_row(records: Records) -> None:
    """The goal came before the record of the loss: no late copy is sent, before the sweep or after it."""
    records.conversions.mark([Conversion("a1", NOW, calls_back=True)])
    lose(records)
    assert records.conversions.reached("a1")
    assert records.conversions.apply_early() == 1
    assert not records.ledger.claim(activation())


def test_a_goal_that_does_not_recall_leaves_the_late_copy(records: Records) -> None:
    """With `cancel_on_goal: false` a copy that comes late is sent."""
    lose(records)
    records.conversions.mark([Conversion("a1", NOW)])
    assert records.ledger.claim(activation())


def held(records: Records) -> None:
    """Hold it."""
    records.hold()


def settled(result: DeliveryResult | None) -> Callable[[Records], None]:
    """Return a step that claims it and settles it with *result*."""

    def step(records: Records) -> None:
        assert records.ledger.claim(activation())
        if result is not None:
            records.ledger.settle("a1", result)

    return step


def recorded(reason: str) -> Callable[[Records], None]:
    """Return a step that records a *reason*."""

    def step(records: Records) -> None:
        records.ledger.record_suppressed([activation(suppressed=reason)])

    return step


def lost_and_forgotten(records: Records) -> None:
    """Lose it, and forget its user."""
    lose(records)
    forget_user(records)


STEPS: dict[str, Callable[[Records], None]] = {
    "sending": settled(None),
    "sent": settled(DeliveryResult(State.SENT)),
    "unknown": settled(DeliveryResult(State.UNKNOWN, "ReadTimeoutError")),
    "refused": settled(THROTTLED),
    "final": settled(DeliveryResult(State.FAILED_FINAL, "MessageRejected")),
    "held": held,
    "cancelled": recorded("cancelled"),
    "holdout": recorded("holdout"),
    "cap": recorded("cap"),
    "forgotten": lost_and_forgotten,
}


@pytest.mark.parametrize("step", STEPS)
def test_the_record_of_a_loss_replaces_nothing(records: Records, step: str) -> None:
    """The activation was handled, and its doorbell finds nothing: the row stays as it is, field by field."""
    STEPS[step](records)
    before = row(records.database)
    for _ in range(2):
        assert records.ledger.record_suppressed([lost()]) == {"a1"}
    assert row(records.database) == before


def test_a_cancellation_and_a_late_copy_have_one_winner(records: Records) -> None:
    """A hundred times both at once: either it is being sent and marked, or it is cancelled."""
    for number in range(100):
        name = f"a{number}"
        lose(records, name)
        claimed, _ = together(
            2,
            lambda who, name=name: (
                records.ledger.record_suppressed([activation(name, suppressed="cancelled")])
                if who
                else records.ledger.claim(activation(name))
            ),
        )
        if claimed:
            assert records.ledger.settle(name, THROTTLED).state is State.SUPPRESSED
        assert records.state(name) == ("suppressed", "cancelled")


def test_what_a_doorbell_carries_of_a_forgotten_user_is_not_sent(site: Db, ses: FakeSes) -> None:
    """As a record or for sending, before or after a row exists: no row names the user, and SES gets nothing."""
    given = deps(site, ses.url)
    given.forget("demo", "ada")
    create_handler(given)(msgspec.to_builtins(Engage([lost("a1")], NOW + 5_000)), Context())
    assert deliver(given, lost("a2"), activation("a3"), activation("a1")) == []
    ends = [(row(site, name)["state"], row(site, name)["reason"]) for name in ("a1", "a2", "a3")]
    assert ends == [("suppressed", "forgotten")] * 3
    assert {row(site, name)["user"] for name in ("a1", "a2", "a3")} == {pseudonym(SECRET, "demo", "ada")}
    assert not ses.requests


def test_a_late_copy_goes_from_the_queue_to_ses(site: Db, ses: FakeSes) -> None:
    """The record of the loss came first, from a Decider; then the copies of a queue that was behind."""
    given = deps(site, ses.url)
    create_handler(given)(msgspec.to_builtins(Engage([lost()], NOW + 5_000)), Context())
    for _ in range(2):
        assert deliver(given, activation()) == []
    create_handler(given)(msgspec.to_builtins(Engage([lost()], NOW + 5_000)), Context())
    assert (row(site)["state"], len(ses.requests)) == ("sent", 1)
