"""Which worker of pytest-xdist runs which tests, and in what order.

A file of tests goes to one worker as a whole, so that its servers start once. Files that share a running system go
together. Long work starts first, so that no worker is left with it at the end. Tests that measure time run last, on
one worker, while all the others have stopped.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Path or its beginning → the system that these tests share. A test that is missing here starts one of its own.
SYSTEMS = {
    "tests/system/": "system",
    "tests/faults/test_invariants.py": "tests/faults/test_invariants.py",
    "tests/faults/": "faults",
    "tests/template/": "template",
}
# These tests depend on durations: other work on the same processors would spoil them.
TIMED = (
    "tests/artefact/test_cold_start.py",
    "tests/artefact/test_hanging.py",
    "tests/browser/test_tag_speed.py",
    "tests/unit/engager/test_webhook_wire.py",
)
TIMED_SCOPE = "timed"
# Each of these tests computes for long and shares nothing.
SPLIT = ("tests/property/",)
# Longest first. What is not named here comes after it, and unit tests fill the gaps at the end.
ORDER = ("faults", "system", "tests/artefact/", "tests/browser/", "tests/integration/", "template", "tests/property/")
LAST = ("tests/unit/", TIMED_SCOPE)


def scope_of(test: str) -> str:
    """Return the name of the unit of work that *test*, a node id of pytest, belongs to."""
    if test.startswith(TIMED):
        return TIMED_SCOPE
    for beginning, system in SYSTEMS.items():
        if test.startswith(beginning):
            return system
    return test if test.startswith(SPLIT) else test.partition("::")[0]


def rank(scope: str) -> int:
    """Return the place of *scope* in the queue; smaller goes first."""
    for place, beginning in enumerate(ORDER):
        if scope.startswith(beginning):
            return place
    for place, beginning in enumerate(LAST, len(ORDER) + 1):
        if scope.startswith(beginning):
            return place
    return len(ORDER)


class Schedule(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out scopes by rank, and the timed one to the last worker that is left."""

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Give *node* more to do; once all others are done, the last worker gets the timed tests."""
        super().mark_test_complete(node, item_index, duration)
        if self._only_timed_left():
            for other in self.nodes:
                self._reschedule(other)

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _reschedule(self, node: WorkerController) -> None:
        # A worker keeps its last test until it has a successor or is told to stop.
        if self._only_timed_left() and any(not other.shutting_down for other in self._others(node)):
            node.shutdown()
        super()._reschedule(node)

    def _assign_work_unit(self, node: WorkerController) -> None:
        scope = min(self.workqueue, key=rank)
        if scope == TIMED_SCOPE and any(self._pending_of(self.assigned_work[other]) for other in self._others(node)):
            return
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _only_timed_left(self) -> bool:
        return set(self.workqueue) == {TIMED_SCOPE}

    def _others(self, node: WorkerController) -> list[WorkerController]:
        return [other for other in self.nodes if other is not node]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Schedule | None:
    """Return the schedule, unless ``--dist`` asks for another."""
    return Schedule(config, log) if config.getoption("dist") == "load" else None
