"""Recalls that meet a call to the provider, on a real ledger.

The class of fault: a record that comes while a row cannot change is dropped, and the row becomes sendable again later.
A cancellation, a goal, or `opportune forget` comes while a provider is called. The call cannot be stopped. But if the
provider refuses the message for now, a retry would send what was recalled. Rows that a sweep took for dead belong to
the class: their process may still report a refusal.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from engager import forget
from engager.channels.channel import OutboundChannel
from engager.engage import engage
from engager.handler import create_handler
from engager.ledger.ledger import STALE_AFTER, MongoLedger
from engager.ledger.states import DeliveryResult, HeldActivation, State
from engager.ports import Deps
from shared.contracts import Conversion, Engage
from shared.errors import Unavailable
from tests.integration.decider.test_user_state import together
from tests.integration.engager.test_engager import NOW, Db, FakeSes, _ses, _site, activation, deliver, deps, row  # noqa: F401 - fixtures
from tests.integration.engager.test_ledger_later import Records, event_of
from tests.support.lambdas import Context

MINUTE = 60_000
THROTTLED = DeliveryResult(State.FAILED_RETRYABLE, "TooManyRequestsException")
OUTCOMES = {
    "sent": (DeliveryResult(State.SENT, provider_id="p1"), ("sent", None)),
    "failed_final": (DeliveryResult(State.FAILED_FINAL, "MessageRejected"), ("failed_final", "MessageRejected")),
    "unknown": (DeliveryResult(State.UNKNOWN, "ReadTimeoutError"), ("unknown", "ReadTimeoutError")),
}

Recall = Callable[[Records], None]


def cancel(records: Records) -> None:
    """Cancel the activation."""
    records.ledger.record_suppressed([activation(suppressed="cancelled")])


def reach_goal(records: Records) -> None:
    """Reach the goal of a campaign that its goal recalls."""
    records.conversions.mark([Conversion("a1", NOW + 5, calls_back=True)])


def record_goal(records: Records) -> None:
    """Record that the goal stopped the activation."""
    records.ledger.record_suppressed([activation(suppressed="goal")])


def forget_user(records: Records) -> None:
    """Forget the user."""
    forget.forget(records.database, "s" * 32, "demo", "ada")


RECALLS: dict[str, tuple[Recall, str]] = {
    "cancelled": (cancel, "cancelled"),
    "goal": (reach_goal, "goal"),
    "goal as a record": (record_goal, "goal"),
    "forgotten": (forget_user, "forgotten"),
}


@pytest.fixture(name="records")
def _records(mongodb: Db) -> Records:
    return Records(mongodb)


@pytest.mark.parametrize("recall", RECALLS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_refusal_ends_what_was_recalled_meanwhile(records: Records, recall: str, times: int) -> None:
    """The row becomes suppressed, not retryable, and no copy of the message claims it again."""
    recalls, reason = RECALLS[recall]
    assert records.ledger.claim(activation())
    for _ in range(times):
        recalls(records)
    assert records.ledger.settle("a1", THROTTLED) == DeliveryResult(State.SUPPRESSED, reason)
    assert records.state() == ("suppressed", reason)
    assert "recalled" not in row(records.database)
    assert not records.ledger.claim(activation())


@pytest.mark.parametrize("recall", RECALLS)
def test_a_held_one_that_is_refused_is_not_held_again(records: Records, recall: str) -> None:
    """The sweep claimed it, and the provider refuses: the row ends, and keeps nothing of the activation."""
    recalls, reason = RECALLS[recall]
    held = records.hold(until=NOW)
    assert records.ledger.claim(held.activation, held=held)
    recalls(records)
    later = HeldActivation(held.activation, NOW + MINUTE, NOW)
    assert records.ledger.hold_claimed(later, "throttled") == DeliveryResult(State.SUPPRESSED, reason)
    records.now += 2 * MINUTE
    assert list(records.backlog.due()) == []
    assert not {"held", "until", "recalled"} & set(row(records.database))


@pytest.mark.parametrize("recall", RECALLS)
@pytest.mark.parametrize("is_first", [False, True])
def test_a_process_that_was_taken_for_dead_does_not_send_again(records: Records, recall: str, is_first: bool) -> None:
    """The sweep marks the row as unknown before or after the recall; then the slow process reports a refusal."""
    recalls, reason = RECALLS[recall]
    slow = MongoLedger(records.database.activations, lambda: NOW)
    assert slow.claim(activation())
    if is_first:
        recalls(records)
    records.now = NOW + int(STALE_AFTER.total_seconds() * 1000) + 1
    assert records.backlog.mark_interrupted() == 1
    if not is_first:
        recalls(records)
    assert records.state() == ("unknown", "interrupted")
    slow.settle("a1", THROTTLED)
    assert records.state() == ("suppressed", reason)


@pytest.mark.parametrize("recall", RECALLS)
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_any_other_outcome_stays_as_it_is(records: Records, recall: str, outcome: str) -> None:
    """A recall does not change what the provider accepted, refused for good, or left unclear."""
    recalls, _ = RECALLS[recall]
    result, expected = OUTCOMES[outcome]
    assert records.ledger.claim(activation())
    recalls(records)
    assert records.ledger.settle("a1", result) == result
    assert records.state() == expected
    assert "recalled" not in row(records.database)


def test_an_event_of_ses_settles_a_recalled_row(records: Records) -> None:
    """SES accepted the e-mail: the row is sent, and the mark is gone."""
    assert records.ledger.claim(activation())
    cancel(records)
    records.mail_events(event_of("Send"))
    assert records.state() == ("sent", None)
    assert "recalled" not in row(records.database)


def test_a_goal_that_does_not_recall_leaves_the_retry(records: Records) -> None:
    """With `cancel_on_goal: false` the refused message stays in the queue."""
    assert records.ledger.claim(activation())
    records.conversions.mark([Conversion("a1", NOW)])
    assert records.ledger.settle("a1", THROTTLED).state is State.FAILED_RETRYABLE
    assert records.ledger.claim(activation())


def test_a_row_without_a_recall_has_no_further_field(records: Records) -> None:
    """Ordinary rows keep their size, and reasons that recall nothing leave no mark."""
    assert records.ledger.claim(activation())
    records.ledger.record_suppressed([activation(suppressed=each) for each in ("cap", "rearm", "state_lost")])
    assert "recalled" not in row(records.database)
    assert records.ledger.settle("a1", THROTTLED).state is State.FAILED_RETRYABLE


def test_a_refusal_and_a_recall_have_one_order(records: Records) -> None:
    """A hundred refusals and cancellations at the same moment: no row can be claimed afterwards."""
    for number in range(100):
        name = f"a{number}"
        assert records.ledger.claim(activation(name))
        together(
            2,
            lambda who, name=name: (
                records.ledger.settle(name, THROTTLED)
                if who
                else records.ledger.record_suppressed([activation(name, suppressed="cancelled")])
            ),
        )
        assert records.state(name) == ("suppressed", "cancelled")


def recalling(given: Deps, recall: Callable[[], Any]) -> Deps:
    """Return *given* with an e-mail channel that calls *recall* while the provider is called."""

    def prepare(*arguments: Any) -> Callable[[], DeliveryResult]:
        call = given.ports.outbound["email"].prepare(*arguments)

        def called() -> DeliveryResult:
            recall()
            return call()

        return called

    return replace(given, ports=replace(given.ports, outbound={"email": OutboundChannel(prepare)}))


@pytest.mark.parametrize("reason", ["cancelled", "goal"])
def test_the_queue_does_not_send_it_later(site: Db, ses: FakeSes, reason: str) -> None:
    """From the queue to SES: the record comes during a throttled call, and the message is done after it."""
    given = deps(site, ses.url)
    record = msgspec.to_builtins(Engage([activation(suppressed=reason)], NOW + 5_000))
    ses.mode = (429, "TooManyRequestsException")
    during = recalling(given, lambda: create_handler(given)(record, Context()))
    assert deliver(during, activation()) == []
    ses.mode = "ok"
    assert deliver(given, activation()) == []
    assert len(ses.requests) == 1
    assert (row(site)["state"], row(site)["reason"]) == ("suppressed", reason)


def test_the_sweep_does_not_send_it_later(site: Db, ses: FakeSes) -> None:
    """A held message is released, throttled and cancelled at once: no sweep sends it."""
    ses.mode = (429, "TooManyRequestsException")
    given = deps(site, ses.url)
    ledger = given.ports.ledger
    held = HeldActivation(activation(), NOW, NOW)
    assert ledger.hold(held, "quiet_hours")
    during = recalling(given, lambda: ledger.record_suppressed([activation(suppressed="cancelled")]))
    assert engage(held.activation, during.ports, held) == DeliveryResult(State.SUPPRESSED, "cancelled")
    ses.mode = "ok"
    later = deps(site, ses.url, now=NOW + 5 * MINUTE)
    assert create_handler(later)({"type": "sweep"}, Context())["outcomes"] == {}
    assert len(ses.requests) == 1


def test_without_a_recall_a_throttled_message_is_still_retried(site: Db, ses: FakeSes) -> None:
    """The queue keeps a refused message, and the sweep holds one that it released."""
    ses.mode = (429, "TooManyRequestsException")
    ports = deps(site, ses.url).ports
    with pytest.raises(Unavailable, match="refused the message for now"):
        engage(activation(), ports)
    held = HeldActivation(activation("a2"), NOW, NOW)
    assert ports.ledger.hold(held, "paused")
    assert engage(held.activation, ports, held).state is State.HELD
    assert (row(site)["state"], row(site, "a2")["state"]) == ("failed_retryable", "held")
