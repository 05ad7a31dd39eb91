"""The promises of delivery, as predicates of a state."""

from collections.abc import Iterator

from tests.model import engager
from tests.model.state import CANCEL, EVENT, FINAL, Scenario, State

ONCE = "the provider accepts an activation at most once"
ENDS = "every activation ends in one final state"
KEPT = "no activation is lost while the store keeps its state"
CANCELLED = "what is cancelled in time is not sent"
COUNTED = "no event of a target is lost"
RECHECKED = "no target fails the recheck"
SENT_AFTER_CANCEL = 3


def broken(state: State, scenario: Scenario, *, is_quiet: bool) -> Iterator[str]:
    """Yield the promises that *state* breaks. *is_quiet*: no work is left, only faults may still come."""
    if any(count > 1 for count in state.accepted):
        yield ONCE
    if SENT_AFTER_CANCEL in state.cancels:
        yield CANCELLED
    if any(state.missed):
        yield COUNTED
    if engager.RECHECK in state.ledger:
        yield RECHECKED
    if is_quiet:
        rows = [row for row, kind in zip(state.ledger, scenario.events, strict=True) if kind != CANCEL]
        if any(task.role == EVENT for task in state.tasks) or not all(row in FINAL for row in rows):
            yield ENDS
        if engager.STATE_LOST in rows and not _has_lost(state, scenario):
            yield KEPT


def _has_lost(state: State, scenario: Scenario) -> bool:
    return (state.left.losses, state.left.wipes) != (scenario.budget.losses, scenario.budget.wipes)
