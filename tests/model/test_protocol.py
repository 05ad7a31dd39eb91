"""The delivery protocol as a model: the design keeps its promises in every state, and each rule is needed.

A test that takes a rule out names the promise that breaks, and the steps that must lead there, in order.
"""

from collections.abc import Iterable

import pytest

from tests.model.explorer import Found, explore
from tests.model.promises import CANCELLED, COUNTED, ENDS, KEPT, ONCE, RECHECKED
from tests.model.scenarios import ORDER, QUICK
from tests.model.state import DELAYED, IMMEDIATE, Budget, Rules, Scenario

LATE_COPY = (
    "wake 0: activation 0 to the queue",
    "bell 0: nothing, and the same epoch, so it rings again",
    "bell 0: the Engager records 'state_lost'",
)


def assert_breaks(found: Found, promise: str, steps: Iterable[str]) -> None:
    """Check that *promise* is broken, after all of *steps* in this order."""
    assert found.broken == promise, str(found)
    labels = iter(found.timeline)
    for step in steps:
        assert any(step in label for label in labels), f"no '{step}' in its place:\n{found}"


@pytest.mark.parametrize("name", QUICK)
def test_the_design_keeps_every_promise(name: str) -> None:
    """No state breaks a promise, and work comes to rest from each of them."""
    found = explore(QUICK[name])
    assert found.broken is None, str(found)
    assert "sent" in found.endings


def test_the_model_reaches_every_ending() -> None:
    """A model in which nothing happens would keep every promise."""
    endings = [explore(QUICK[name]).endings for name in ("the store loses its tail", "the store is emptied")]
    assert endings == [{"", "sent", "cancelled", "state_lost"}] * 2
    assert "unknown" in explore(Scenario((DELAYED,), Budget(faults=1))).endings


def test_two_refreshes_in_quick_succession_lose_events() -> None:
    """Without both rules, a cached pointer leads to a collection that was dropped."""
    rules = Rules(drop_by_age=False, missing_is_unavailable=False)
    refreshed = ("fills generation 2", "fills generation 3", "drops generation 1")
    event = explore(Scenario((IMMEDIATE, IMMEDIATE), Budget(refreshes=2), rules))
    assert_breaks(event, COUNTED, (*refreshed, "missing, which reads as 'not a target'", "answered 200"))
    delayed = explore(Scenario((DELAYED,), Budget(refreshes=2), rules), RECHECKED)
    assert_breaks(delayed, RECHECKED, ("to the queue", *refreshed, "generation 1 is missing, 'not a target'"))


def test_one_refresh_is_harmless() -> None:
    """The previous generation always remains."""
    rules = Rules(drop_by_age=False, missing_is_unavailable=False)
    assert explore(Scenario((IMMEDIATE, IMMEDIATE), Budget(refreshes=1), rules)).broken is None


@pytest.mark.parametrize("rules", [Rules(drop_by_age=False), Rules(missing_is_unavailable=False)])
def test_either_rule_about_old_generations_is_enough(rules: Rules) -> None:
    """If one fails, for example because a clock jumps, the other still keeps the promise."""
    for event in (IMMEDIATE, DELAYED):
        assert explore(Scenario((event,), Budget(refreshes=2), rules)).broken is None


def test_a_lost_tail_makes_activations_vanish() -> None:
    """Without the second ring, nothing knows of an activation that was promised."""
    found = explore(Scenario(ORDER, Budget(losses=1), Rules(ring_again=False)))
    steps = ("match", "a doorbell for activation 0; answered 200", "loses its tail", "so there is nothing to do")
    assert_breaks(found, ENDS, steps)


def test_a_copy_that_is_late_replaces_a_lost_state() -> None:
    """Without this rule, a queue that is behind loses a message, though no state is lost."""
    found = explore(Scenario((DELAYED,), Budget(), Rules(copy_replaces_lost=False)))
    assert_breaks(found, KEPT, (*LATE_COPY, "finds the row 'state_lost' and stops"))


def test_a_cancellation_replaces_a_lost_state() -> None:
    """Without this rule, a late copy is sent after the cancellation was recorded. It needs no fault at all."""
    found = explore(Scenario(ORDER, Budget(), Rules(cancel_replaces_lost=False)))
    assert_breaks(
        found,
        CANCELLED,
        (*LATE_COPY, "the Engager records 'cancelled'", "row 'state_lost' ─▶ 'sending'", "the provider accepts"),
    )


@pytest.mark.parametrize(
    ("budget", "step"), [(Budget(copies=1), "delivered twice"), (Budget(faults=1), "then it dies or hears no reply")]
)
def test_the_ledger_comes_before_the_provider(budget: Budget, step: str) -> None:
    """Otherwise a second copy, or a repeated one, is accepted again."""
    found = explore(Scenario((DELAYED,), budget, Rules(ledger_first=False)))
    assert_breaks(found, ONCE, (step, "the provider accepts"))


def test_a_row_is_inserted_if_absent() -> None:
    """Otherwise each copy claims the row."""
    found = explore(Scenario((DELAYED,), Budget(copies=1), Rules(insert_if_absent=False)))
    assert_breaks(found, ONCE, ("delivered twice", "inserts the row 'sending'", "accepts", "accepts"))


def test_an_activation_is_acknowledged_after_its_hand_over() -> None:
    """Otherwise a death in between loses it, and only the doorbell still knows of it."""
    found = explore(Scenario((DELAYED,), Budget(faults=1), Rules(acknowledge_last=False)))
    assert_breaks(found, KEPT, ("acknowledges ✗ then it dies", "the Engager records 'state_lost'"))
    unnoticed = explore(Scenario((DELAYED,), Budget(faults=1), Rules(acknowledge_last=False, ring_again=False)))
    assert_breaks(unnoticed, ENDS, ("acknowledges ✗ then it dies", "so there is nothing to do"))


def test_a_lost_store_forgets_what_can_be_cancelled() -> None:
    """A limit: the row no longer knows the activation, whose message is in the queue or carried by a doorbell."""
    found = explore(Scenario(ORDER, Budget(losses=1), remember_cancels=True))
    assert_breaks(found, CANCELLED, ("to the queue", "loses its tail", "cancels nothing", "the provider accepts"))
    sends = explore(Scenario(ORDER, Budget(wipes=1), Rules(send_if_lost=True), remember_cancels=True))
    assert_breaks(sends, CANCELLED, ("the store is empty", "cancels nothing", "the provider accepts"))
    assert explore(Scenario(ORDER, Budget(faults=1), remember_cancels=True)).broken is None


def test_a_failed_doorbell_and_a_lost_tail_lose_an_activation() -> None:
    """If an event is answered although its doorbell failed, only the store knows of its activation."""
    found = explore(Scenario((DELAYED,), Budget(faults=1, losses=1), Rules(doorbell_before_answer=False)))
    assert_breaks(found, ENDS, ("match", "the call to ring fails", "loses its tail"))


def test_a_refused_call_is_retried_although_it_was_cancelled() -> None:
    """Without its mark, a cancellation during a provider call is lost; if the provider refuses, the retry is sent."""
    steps = ("inserts the row 'sending'", "refuses for now", "records 'cancelled'", "row 'retryable' ─▶", "accepts")
    found = explore(Scenario(ORDER, Budget(refusals=1), Rules(cancel_marks_sending=False)))
    assert_breaks(found, CANCELLED, steps)
    assert explore(Scenario(ORDER, Budget(refusals=1))).broken is None
