"""The Engager's transitions: messages from the queue, records of what is not sent, and the sweep.

    delivery   check the targets, claim the row ─▶ call the provider ─▶ settle
    record     insert the row, or suppress one that was not sent
    sweep      a row whose process is gone: `sending` ─▶ `unknown`

Rows: `sending`, `recalled` (sending, and cancelled meanwhile), `retryable`, and the final states.
"""

from collections.abc import Iterator

from tests.model.state import DELAYED, DELIVERY, Rules, Scenario, State, Task, put

SENDING, RECALLED, RETRYABLE, SENT, UNKNOWN = "sending", "recalled", "retryable", "sent", "unknown"
CANCELLED, STATE_LOST, RECHECK = "cancelled", "state_lost", "recheck"
UNSENT = ("", RETRYABLE, STATE_LOST, SENDING)
NEVER_CLAIMED = (SENT, UNKNOWN, CANCELLED, RECHECK)

Outcome = tuple[str, State, Task | None]


def steps(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Yield the outcomes of the next call of *task*, a delivery."""
    if task.step == "start":
        if scenario.rules.ledger_first:
            yield from _claim(state, task, scenario)
        else:
            yield from _call(state, task, scenario)
    elif task.step == "call":
        yield from _call(state, task, scenario)
    else:
        yield from _settle(state, task, scenario)


def record(state: State, number: int, reason: str, rules: Rules) -> State:
    """Return *state* with the record that activation *number* is not sent, for *reason*."""
    row = state.ledger[number]
    replaced = {"": reason}
    if reason == CANCELLED:
        replaced[RETRYABLE] = reason
        if rules.cancel_replaces_lost:
            replaced[STATE_LOST] = reason
        if rules.cancel_marks_sending:
            replaced[SENDING] = RECALLED
        if row in UNSENT:
            state = state._replace(cancels=put(state.cancels, number, max(1, state.cancels[number])))
    return state._replace(ledger=put(state.ledger, number, replaced.get(row, row)))


def never_claimed(rules: Rules) -> tuple[str, ...]:
    """Return the states of rows that no message can claim, and that stay as they are."""
    return NEVER_CLAIMED if rules.ledger_first and rules.insert_if_absent else ()


def sweeps(state: State) -> Iterator[tuple[str, State]]:
    """Yield the sweeps of rows whose process is gone."""
    for number, row in enumerate(state.ledger):
        if row in (SENDING, RECALLED) and not any(_is_sending(task, number) for task in state.tasks):
            yield (
                f"Engager, sweep: the row of activation {number} becomes 'unknown'",
                state._replace(ledger=put(state.ledger, number, UNKNOWN)),
            )


def _is_sending(task: Task, number: int) -> bool:
    return task.role == DELIVERY and task.number == number and task.step != "start"


def _claim(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Check the gates and claim the row; a message that finds `sending` waits in the queue."""
    number, rules = task.number, scenario.rules
    row, name = state.ledger[number], f"Engager, delivery {number}:"
    if scenario.budget.refreshes and scenario.events[number] == DELAYED:
        generation = state.engager_pointer
        if generation not in state.generations:
            if rules.missing_is_unavailable:
                reloaded = state._replace(engager_pointer=state.pointer)
                yield f"{name} generation {generation} is missing, so look up the pointer again", reloaded, task
                return
            stopped = state._replace(ledger=put(state.ledger, number, RECHECK)) if not row else state
            yield f"{name} generation {generation} is missing, 'not a target': suppressed", stopped, None
            return
    claimable = ["", RETRYABLE]
    if rules.copy_replaces_lost:
        claimable.append(STATE_LOST)
    if row in claimable or not rules.insert_if_absent:
        claimed = state._replace(
            ledger=put(state.ledger, number, SENDING),
            cancels=put(state.cancels, number, max(state.cancels[number], 2 if state.cancels[number] else 0)),
        )
        label = f"{name} row {row!r} ─▶ 'sending'" if row else f"{name} inserts the row 'sending'"
        yield label, claimed, task._replace(step="call")
    elif row not in (SENDING, RECALLED):
        yield f"{name} finds the row {row!r} and stops", state, None


def _call(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    number = task.number
    name = f"Engager, delivery {number}:"
    accepted = state._replace(
        accepted=put(state.accepted, number, state.accepted[number] + 1),
        cancels=put(state.cancels, number, 3 if state.cancels[number] == 2 else state.cancels[number]),
    )
    yield f"{name} the provider accepts", accepted, task._replace(step="settle", about=(SENT,))
    if state.left.refusals:
        left = state.left._replace(refusals=state.left.refusals - 1)
        following = task._replace(step="settle", about=(RETRYABLE,))
        yield f"{name} the provider refuses for now", state._replace(left=left), following


def _settle(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    number, result = task.number, str(task.about[0])
    row = state.ledger[number]
    settled = {SENDING: result, UNKNOWN: result, RECALLED: CANCELLED if result == RETRYABLE else result}
    if not scenario.rules.ledger_first:
        settled[""] = result
    changed = state._replace(ledger=put(state.ledger, number, settled.get(row, row)))
    following = task.restart() if result == RETRYABLE else None
    yield f"Engager, delivery {number}: settles {settled.get(row, row)!r}", changed, following
