"""The transitions of the whole protocol: those of its processes, and what can go wrong around them.

a process dies       its message comes back; a wake just ends
a call fails         as if the process had died, before or after the call took effect; two exceptions:
                     without its doorbell an event is answered all the same, and an unclear answer of the
                     provider is settled as `unknown`
the store loses      it goes back to any earlier state (failover, snapshot), or is empty; processes go on
a refresh            moves the pointer; the functions' cached pointers follow at any later time
"""

from collections.abc import Iterator

from tests.model import decider, engager
from tests.model.state import DELIVERY, EVENT, Budget, Scenario, State, Step, Store, Task, put


def steps(state: State, scenario: Scenario) -> Iterator[Step]:
    """Yield all transitions from *state*."""
    before = None
    for place, task in enumerate(state.tasks):
        is_early = scenario.in_order and task.role == EVENT and place > 0 and state.tasks[place - 1].role == EVENT
        if task != before and not is_early:
            yield from _steps_of(state, task, scenario)
        before = task
    for wake in decider.wakes(state):
        yield from _steps_of(state, wake, scenario)
    for label, swept in engager.sweeps(state):
        yield Step(label, swept)
    yield from _losses(state, scenario)
    if scenario.budget.refreshes:
        yield from _targets(state, scenario)


def _steps_of(state: State, task: Task, scenario: Scenario) -> Iterator[Step]:
    """Yield the transitions of *task*, and its failures."""
    of_role = engager.steps if task.role == DELIVERY else decider.steps
    left, ends = state.left, engager.never_claimed(scenario.rules)
    if not left.faults:
        for label, changed, following in of_role(state, task, scenario):
            yield Step(label, _with(changed, task, following, changed.left, ends))
        return
    failed, again = _failed(task, scenario), task.restart()
    for label, changed, following in of_role(state, task, scenario):
        yield Step(label, _with(changed, task, following, changed.left, ends))
        spent = changed.left._replace(faults=left.faults - 1)
        yield Step(f"{label} ✗ then it dies or hears no reply", _with(changed, task, again, spent, ends), is_due=False)
        if failed != again:
            yield Step(f"{label} ✗ but the reply is lost", _with(changed, task, failed, spent, ends), is_due=False)
    if task.step != "start":
        spent, name = left._replace(faults=left.faults - 1), f"{task.role} {task.number}"
        yield Step(f"✗ {name} dies, or cannot {task.step}", _with(state, task, again, spent, ends), is_due=False)
        if failed != again:
            yield Step(
                f"✗ {name}: the call to {task.step} fails", _with(state, task, failed, spent, ends), is_due=False
            )


def _failed(task: Task, scenario: Scenario) -> Task | None:
    """Return how *task* goes on after its call has failed."""
    if task.step == "ring" and not scenario.rules.doorbell_before_answer:
        return None
    if task.step == "call":
        return task._replace(step="settle", about=(engager.UNKNOWN,))
    return task.restart()


def _with(state: State, task: Task, following: Task | None, left: Budget, ends: tuple[str, ...]) -> State:
    """Return *state* with *following* in place of *task*, in a normal form: states that behave alike are equal.

    In it the tasks are sorted, the store cannot go back to where it is, and a message whose row is one of *ends* has
    been processed: it only stops, so it does not matter when.
    """
    tasks = list(state.tasks)
    if task in tasks:  # a wake that begins is not there yet
        tasks.remove(task)
    if following is not None:
        tasks.append(following)
    elif task.role == EVENT:
        state = _forget(state, task.number)
    ledger = state.ledger
    kept = [each for each in tasks if each.role != DELIVERY or each.step != "start" or ledger[each.number] not in ends]
    kept.sort()
    saved = None if state.saved == state.store else state.saved
    return state._replace(tasks=tuple(kept), saved=saved, left=left)


def _forget(state: State, number: int) -> State:
    """Return *state* after event *number* was answered: its message does not come again."""
    store, saved = state.store, state.saved
    return state._replace(
        store=store._replace(seen=put(store.seen, number, None)),
        saved=saved and saved._replace(seen=put(saved.seen, number, None)),
    )


def _losses(state: State, scenario: Scenario) -> Iterator[Step]:
    if state.saved is not None and state.saved != state.store:
        store = state.saved._replace(epoch=state.store.epoch)
        left = state.left._replace(losses=state.left.losses - 1)
        yield Step("✗ the store loses its tail", state._replace(store=store, saved=None, left=left), is_due=False)
    if state.left.wipes:
        empty = Store(0, (None,) * len(scenario.events), *(("",) * len(scenario.events),) * 2, epoch=0)
        left = state.left._replace(wipes=state.left.wipes - 1)
        yield Step("✗ the store is empty", state._replace(store=empty, left=left), is_due=False)


def _targets(state: State, scenario: Scenario) -> Iterator[Step]:
    if state.left.refreshes:
        newest = state.pointer + 1
        left = state.left._replace(refreshes=state.left.refreshes - 1)
        flipped = state._replace(pointer=newest, generations=(*state.generations, newest), left=left)
        yield Step(f"Refresher: fills generation {newest} and moves the pointer", flipped, is_due=False)
    for generation in state.generations:
        if _is_droppable(generation, state, scenario):
            kept = tuple(each for each in state.generations if each != generation)
            yield Step(f"Refresher: drops generation {generation}", state._replace(generations=kept), is_due=False)
    if state.decider_pointer != state.pointer:
        yield Step("Decider: reloads the pointer", state._replace(decider_pointer=state.pointer), is_due=False)
    if state.engager_pointer != state.pointer:
        yield Step("Engager: reloads the pointer", state._replace(engager_pointer=state.pointer), is_due=False)


def _is_droppable(generation: int, state: State, scenario: Scenario) -> bool:
    if scenario.rules.drop_by_age:
        return generation < min(state.decider_pointer, state.engager_pointer)
    return generation < state.pointer - 1
