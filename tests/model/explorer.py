"""An exhaustive breadth-first search through the states of a scenario.

The search visits every state that can be reached. If one breaks a promise, the states before it give a shortest
timeline that leads there. At the end it checks that every state can still come to rest, without help from chance.
"""

import gc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.model import protocol
from tests.model.promises import ENDS, broken
from tests.model.state import Scenario, State, initial


class Found(NamedTuple):
    """The result of a search.

    ``states``: how many were visited.
    ``endings``: the rows of the ledger in all states of rest.
    ``broken``: the promise that is broken; ``None``: all hold in every state.
    ``timeline``: a shortest way there, one transition a line.
    """

    states: int
    endings: frozenset[str] = frozenset()
    broken: str | None = None
    timeline: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = (f"{number:3}  {label}" for number, label in enumerate(self.timeline, 1))
        return "\n".join([f"{self.broken or 'all promises hold'} ({self.states} states)", *lines])


class _Visited:
    """The states by number, in the order of the search."""

    def __init__(self, first: State) -> None:
        self.numbers = {first: 0}
        self.reached_by: list[tuple[int, str]] = [(-1, "")]
        self.due_before: list[list[int]] = [[]]  # per state: from which states a step that is due leads to it
        self.at_rest: list[int] = []

    def add(self, state: State, before: int, label: str) -> None:
        """Add a new *state*, reached from *before*."""
        self.numbers[state] = len(self.reached_by)
        self.reached_by.append((before, label))
        self.due_before.append([])

    def timeline(self, number: int) -> tuple[str, ...]:
        """Return the labels of the steps to the state *number*."""
        labels = []
        while number:
            number, label = self.reached_by[number]
            labels.append(label)
        return tuple(reversed(labels))

    def restless(self) -> int | None:
        """Return the first state from which no due steps lead to rest, if there is one."""
        can_rest = bytearray(len(self.reached_by))
        waiting = list(self.at_rest)
        while waiting:
            number = waiting.pop()
            if not can_rest[number]:
                can_rest[number] = True
                waiting += self.due_before[number]
        first = can_rest.find(0)
        return None if first < 0 else first


def explore(scenario: Scenario, promise: str | None = None) -> Found:
    """Visit all states of *scenario*; stop at the first that breaks *promise*, or any promise."""
    first = initial(scenario)
    visited, endings = _Visited(first), set[str]()
    waiting = deque([first])
    with _no_collector():
        while waiting:
            state = waiting.popleft()
            number, is_quiet = visited.numbers[state], True
            for label, after, is_due in protocol.steps(state, scenario):
                if after not in visited.numbers:
                    visited.add(after, number, label)
                    waiting.append(after)
                if is_due:
                    is_quiet = False
                    visited.due_before[visited.numbers[after]].append(number)
            if is_quiet:
                visited.at_rest.append(number)
                endings.update(state.ledger)
            for each in broken(state, scenario, is_quiet=is_quiet):
                if promise in (None, each):
                    return Found(len(visited.numbers), frozenset(endings), each, visited.timeline(number))
        restless = visited.restless()
    if restless is not None:
        return Found(len(visited.numbers), frozenset(endings), ENDS, visited.timeline(restless))
    return Found(len(visited.numbers), frozenset(endings))


@contextmanager
def _no_collector() -> Iterator[None]:
    """Turn the garbage collector off: a search makes no cycles, and scanning its states takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
