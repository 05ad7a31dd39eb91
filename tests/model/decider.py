"""The Decider's transitions: requests with one event, doorbells, and wakes.

    event     look up targets ─▶ apply ─┬─ delayed ──▶ ring ─▶ answer
                                        ├─ immediate ▶ enqueue ─▶ acknowledge ─▶ answer
                                        └─ cancel ───▶ record ─▶ acknowledge ─▶ answer
    bell      claim ─┬─ found ──▶ enqueue or record ─▶ acknowledge
    wake             └─ nothing ▶ (bell) ring again, then hand over what the bell carries

Each transition has at most one call, and is atomic as the call is. A process that fails or dies has done the calls up
to there. Callers repeat an event until it is answered; queues deliver a message until it is processed.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.engager import UNSENT, record
from tests.model.state import (
    BELL,
    CANCEL,
    DELAYED,
    DELIVERY,
    EVENT,
    IMMEDIATE,
    NEW_EPOCH,
    WAKE,
    Scenario,
    State,
    Store,
    Task,
    put,
)

DELIVER, CANCELLED, STATE_LOST = "deliver", "cancelled", "state_lost"
WAITING, CLAIMED = "waiting", "claimed"
MAX_COPIES = 2  # of one message; more change nothing


class Outcome(NamedTuple):
    """What one call leads to: the state, and the task's next step; ``None``: it is done."""

    label: str
    state: State
    following: Task | None = None


def steps(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Yield the outcomes of the next call of *task*, an event, a bell or a wake."""
    if task.step == "start":
        yield from _start_event(state, task, scenario) if task.role == EVENT else _claim(state, task, scenario)
    elif task.step == "apply":
        yield from _apply(state, task, scenario, int(task.about[0]), is_target=bool(task.about[1]))
    elif task.step == "ring":
        yield from _ring(state, task)
    elif task.step == "enqueue":
        yield from _enqueue(state, task, scenario)
    elif task.step == "record":
        yield from _record(state, task, scenario)
    elif task.step == "acknowledge":
        yield from _acknowledge(state, task, scenario)
    elif task.step == "lost":
        yield from _lost(state, task, scenario)


def wakes(state: State) -> Iterator[Task]:
    """Yield the wakes that can begin. One waits until no process can still hand the activation over itself."""
    for number, gate in enumerate(state.store.unacknowledged):
        if gate and not any(_has_in_hand(task, number) for task in state.tasks):
            yield Task(WAKE, "start", number)


def _has_in_hand(task: Task, number: int) -> bool:
    if task.role == EVENT:
        return task.step in ("enqueue", "record", "acknowledge") and number in (task.number, *task.about)
    return task.role in (BELL, WAKE) and task.number == number and task.step != "start"


def _start_event(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Apply an event of a user whose targets are known; look them up if the row asks for them."""
    generation = state.decider_pointer
    if _is_applied(state.store, task) or abs(state.store.targets) >= generation:
        yield from _apply(state, task, scenario, generation, is_target=None)
        return
    found = generation in state.generations
    name = f"{_title(task, scenario)}: the row asks for the targets;"
    if not found and scenario.rules.missing_is_unavailable:
        reloaded = state._replace(decider_pointer=state.pointer)
        yield Outcome(f"{name} generation {generation} is missing, so look up the pointer again", reloaded, task)
        return
    answer = "the user is a target" if found else "the collection is missing, which reads as 'not a target'"
    following = task._replace(step="apply", about=(generation, found))
    yield Outcome(f"{name} generation {generation}: {answer}", state, following)


def _is_applied(store: Store, task: Task) -> bool:
    return store.seen[task.number] is not None


def _apply(
    state: State, task: Task, scenario: Scenario, generation: int, *, is_target: bool | None
) -> Iterator[Outcome]:
    """Apply an event in one script. *is_target*: what was looked up in *generation*, if it was."""
    store, number, kind = state.store, task.number, scenario.events[task.number]
    name = _title(task, scenario)
    cancelled = store.seen[number]
    if cancelled is not None:
        yield from _after(f"{name}: seen before, the stored result", state, task, scenario, cancelled, is_new=False)
        return
    targets = store.targets
    if is_target is not None and abs(targets) < generation:
        targets = generation if is_target else -generation
    if kind == CANCEL:
        yield from _cancel(state, task, scenario, store._replace(targets=targets))
        return
    if targets < 0:
        missed = state._replace(missed=put(state.missed, number, value=True))
        yield from _writes(
            Outcome(f"{name}: the user is not a target; answered 200", missed), store._replace(targets=targets)
        )
        return
    epoch = store.epoch or NEW_EPOCH if kind == DELAYED else store.epoch
    matched = Store(
        targets=targets,
        seen=put(store.seen, number, ()),
        unacknowledged=put(store.unacknowledged, number, DELIVER),
        open=put(store.open, number, WAITING if kind == DELAYED else ""),
        epoch=epoch,
    )
    label = f"{name}: match, activation and timer in one script"
    for each in _writes(Outcome(label, state), matched):
        yield from _after(label, each.state, task, scenario, (), is_new=True)


def _cancel(state: State, task: Task, scenario: Scenario, store: Store) -> Iterator[Outcome]:
    name, count = _title(task, scenario), len(store.open)
    cancelled = tuple(number for number in range(count) if store.open[number])
    changed = store._replace(
        seen=put(store.seen, task.number, cancelled),
        open=("",) * count,
        unacknowledged=tuple(
            CANCELLED if number in cancelled else store.unacknowledged[number] for number in range(count)
        ),
    )
    if scenario.remember_cancels:
        waiting = {each.number for each in state.tasks if each.role == EVENT}
        asked = tuple(
            max(before, int(number not in (*cancelled, *waiting) and state.ledger[number] in UNSENT))
            for number, before in enumerate(state.cancels)
        )
        state = state._replace(cancels=asked)
    label = f"{name}: cancels {_names(cancelled) or 'nothing that the row knows'}"
    for each in _writes(Outcome(label, state), changed):
        yield from _after(label, each.state, task, scenario, cancelled, is_new=True)


def _after(
    label: str, state: State, task: Task, scenario: Scenario, cancelled: tuple[int, ...], *, is_new: bool
) -> Iterator[Outcome]:
    """Continue with what the row said: a stored result is handed over again, as far as it was not delayed."""
    kind = scenario.events[task.number]
    if kind == DELAYED:
        yield Outcome(label, state, task._replace(step="ring", epoch=state.store.epoch, about=()))
        if not (is_new or scenario.rules.doorbell_before_answer):
            yield Outcome(f"{label}; it is due by now, so no doorbell; answered 200", state)
    elif kind == IMMEDIATE:
        yield Outcome(label, state, _hand_over(task._replace(step="enqueue", about=(DELIVER,)), scenario))
    elif cancelled:
        yield Outcome(label, state, task._replace(step="record", about=(CANCELLED, *cancelled)))
    else:
        yield Outcome(f"{label}; answered 200", state)


def _ring(state: State, task: Task) -> Iterator[Outcome]:
    bell = Task(BELL, "start", task.number, epoch=task.epoch)
    for copies, changed in _queued(state, bell):
        yield Outcome(f"{_title(task)}: a doorbell for activation {task.number}{copies}; answered 200", changed)


def _claim(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Claim an activation whose time has come."""
    store, number = state.store, task.number
    name, gate = _title(task), store.unacknowledged[number]
    if gate:
        opened = put(store.open, number, CLAIMED) if store.open[number] else store.open
        step = "enqueue" if gate == DELIVER else "record"
        about = (gate,) if gate == DELIVER else (gate, number)
        following = _hand_over(task._replace(step=step, about=about), scenario)
        label = f"{name}: claims activation {number}" + (", which is cancelled" if gate == CANCELLED else "")
        for each in _writes(Outcome(label, state), store._replace(open=opened)):
            yield each._replace(following=following)
        return
    if task.role == WAKE:
        return
    if store.epoch != task.epoch:
        yield Outcome(f"{name}: nothing, and a new epoch", state, task._replace(step="lost"))
    elif not scenario.rules.ring_again:
        yield Outcome(f"{name}: nothing, and the same epoch, so there is nothing to do", state)
    elif task.rings == 0:
        again = task._replace(rings=1)
        for copies, changed in _queued(state, again):
            yield Outcome(f"{name}: nothing, and the same epoch, so it rings again in 15 minutes{copies}", changed)
    else:
        yield Outcome(f"{name}: nothing again", state, task._replace(step="lost"))


def _hand_over(task: Task, scenario: Scenario) -> Task:
    """Return the first step of a hand-over, whose step is now that of *task*."""
    if scenario.rules.acknowledge_last:
        return task
    return task._replace(step="acknowledge", about=(*task.about, task.step))


def _enqueue(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    following = task._replace(step="acknowledge") if scenario.rules.acknowledge_last else None
    for copies, changed in _queued(state, Task(DELIVERY, "start", task.number)):
        yield Outcome(f"{_title(task, scenario)}: activation {task.number} to the queue{copies}", changed, following)


def _record(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    gate, *numbers = task.about
    changed = state
    for number in numbers:
        if isinstance(number, int):
            changed = record(changed, number, str(gate), scenario.rules)
    following = task._replace(step="acknowledge") if scenario.rules.acknowledge_last else None
    yield Outcome(f"{_title(task, scenario)}: the Engager records '{gate}'", changed, following)


def _acknowledge(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Remove what was handed over, if its gate is the one with which it was handed over."""
    gate, *rest = task.about
    numbers = [each for each in rest if isinstance(each, int)] or [task.number]
    steps_left = [each for each in rest if isinstance(each, str)]
    kept = tuple(
        "" if number in numbers and now == gate else now for number, now in enumerate(state.store.unacknowledged)
    )
    following = task._replace(step=steps_left[0], about=task.about[:-1]) if steps_left else None
    answered = "; answered 200" if task.role == EVENT else ""
    label = f"{_title(task, scenario)}: acknowledges{answered}"
    for each in _writes(Outcome(label, state), state.store._replace(unacknowledged=kept)):
        yield each._replace(following=following)


def _lost(state: State, task: Task, scenario: Scenario) -> Iterator[Outcome]:
    """Hand over the activation that a bell carries: by the campaign's policy, as a record or for sending."""
    if not scenario.rules.send_if_lost:
        changed = record(state, task.number, STATE_LOST, scenario.rules)
        yield Outcome(f"{_title(task)}: the Engager records 'state_lost', unless there is a row", changed)
        return
    for copies, changed in _queued(state, Task(DELIVERY, "start", task.number)):
        yield Outcome(f"{_title(task)}: the activation that it carries to the queue{copies}", changed)


def _writes(outcome: Outcome, store: Store) -> Iterator[Outcome]:
    """Yield *outcome* with the new *store*; once more with the present one as that to which it may go back."""
    state = outcome.state
    if store == state.store:
        yield outcome
        return
    changed = state._replace(store=store)
    yield outcome._replace(state=changed)
    if state.left.losses and state.saved is None:
        yield outcome._replace(state=changed._replace(saved=state.store))


def _queued(state: State, task: Task) -> Iterator[tuple[str, State]]:
    """Yield *state* with the message *task*, once or twice, and a word on it."""
    tasks = (*state.tasks, task) if state.tasks.count(task) < MAX_COPIES else state.tasks
    yield "", state._replace(tasks=tasks)
    if state.left.copies and state.tasks.count(task) == 0:
        left = state.left._replace(copies=state.left.copies - 1)
        yield " (delivered twice)", state._replace(tasks=(*tasks, task), left=left)


def _title(task: Task, scenario: Scenario | None = None) -> str:
    """Return the name of a process in a timeline."""
    if task.role == EVENT:
        kind = scenario.events[task.number] if scenario else ""
        return f"Decider, event {task.number}" + (f" ({kind})" if kind else "")
    return f"Decider, {task.role} {task.number}"


def _names(numbers: tuple[int, ...]) -> str:
    """Return *numbers* as text."""
    return " and ".join(f"activation {number}" for number in numbers)
