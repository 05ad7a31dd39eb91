"""Trace one user's progress, event by event, with ``machine.lua`` itself.

The trace finds by experiment why an event led no further; there is no second state machine. Relaxed copies of the
program run beside it, each without one constraint. If an event gets further in a relaxed copy, the constraint that
this copy lacks stopped it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lupa.luajit21 import LuaRuntime

from decider import scripts
from shared.ruleset import Program

ALL = "all"
# If removing any one of several constraints would help, the first of them in this order is named.
STEP_CONSTRAINTS = {"not_before": "guard", "directly": "directly", "consecutive": "consecutive"} | {
    "inner": "inner",
    "gap": "gap",
}
ENDLESS_MS = 2**52


class CompletedMatch(NamedTuple):
    """A match of the run ``per``, from its first event (``since``) to its completion (``at``), in ms."""

    per: str
    at: int
    since: int
    reason: str
    message_ids: list[str]


class NearMiss(NamedTuple):
    """How far an event would have got without ``constraint``.

    ``reached``: the number of events of a match.
    ``message_ids``: those events, in order.
    """

    constraint: str
    reached: int
    message_ids: list[str]


class Progress(NamedTuple):
    """The progress of a run.

    ``starts``: the first event's time by the number of events reached.
    ``due``: the deadline of a pending absence.
    ``done``: whether it has matched and cannot match again.
    """

    starts: dict[int, int]
    due: int | None
    done: bool


class EventTrace(NamedTuple):
    """The effect of one event.

    ``before``, ``after``: progress without and with it; ``before`` follows ``expired``, an absence due earlier.
    ``reached``: how many events of a match end in it.
    ``fired``: the match that it completed.
    ``broken_by``: the constraint by which it ended earlier progress.
    ``cancelled``: whether it cancelled a pending absence.
    ``near``: how far it would have got without each constraint.
    ``dropped``: the run that it displaced.
    """

    before: Progress
    after: Progress
    reached: int
    expired: CompletedMatch | None
    fired: CompletedMatch | None
    broken_by: str | None
    cancelled: bool
    near: list[NearMiss]
    dropped: str | None


class Timing(NamedTuple):
    """The time of an event, as ``machine.lua`` takes it.

    ``now``: the time that it counts for, ms. ``at``: its own time, ms.
    ``late``: whether it can only stop a trigger.
    ``ended``: the own time of the newest event before it that ends a wait, ms.
    """

    now: int
    at: int
    late: bool = False
    ended: int | None = None


class Machine:
    """``machine.lua`` and ``messages.lua``, loaded."""

    def __init__(self) -> None:
        self.lua = LuaRuntime(unpack_returned_tuples=True)
        self.code = self.lua.execute(scripts.module("machine"))
        self.messages = LuaRuntime(encoding=None, unpack_returned_tuples=True).execute(scripts.module("messages"))

    def copy(self, value: Any) -> Any:
        """Return a deep copy of a Lua value."""
        if not hasattr(value, "items"):
            return value
        fresh = self.lua.table()
        for key, inner in value.items():
            fresh[key] = self.copy(inner)
        return fresh


class Trace:
    """The runs of one user in one trigger, and their relaxed copies."""

    def __init__(self, machine: Machine, program: Program) -> None:
        self._machine = machine
        self._program = machine.lua.table_from(program, recursive=True)
        self._relaxed = {name: machine.lua.table_from(each, recursive=True) for name, each in relaxed(program).items()}
        self._members = "members" in program
        self._cancels = program.get("absent", {}).get("bit", 0) | program.get("reset", 0)
        self.units = len(program["members"]) if self._members else program["units"]
        self._runs = machine.lua.table()
        self._copies: dict[str, dict[str, Any]] = {}

    def calls_off(self, bits: int) -> bool:
        """Return whether an event with these roles ends a wait."""
        return bool(self._machine.code.calls_off(self._program, bits))

    def apply(self, bits: int, per: str, timing: Timing, message_id: str) -> EventTrace:
        """Apply an event whose roles in the trigger are *bits*; return its effect."""
        code, copy, table = self._machine.code, self._machine.copy, self._machine.lua.table
        state = self._state(per)
        expired = None
        if state is not None and (fire := code.expire(self._program, state, timing.now)):
            expired = _fired(per, fire)
            self._restart_copies(per, state)
        earlier = copy(state) if state is not None else table()
        now, at, late, ended = timing
        fire, dropped = code.advance_run(self._program, self._runs, per, bits, now, at, late, message_id, None, ended)
        state = self._state(per) or table()
        copies = self._copies.setdefault(per, {name: table() for name in self._relaxed})
        near = [
            near
            for name, program in self._relaxed.items()
            if (near := self._near(name, program, copies[name], bits, timing, message_id))
        ]
        fired = _fired(per, fire) if fire else None
        if fired:
            self._restart_copies(per, state)
        if dropped is not None:
            self._copies.pop(dropped, None)
        before, after = _progress(earlier), _progress(state)
        lost = max((unit for unit in before.starts if unit not in after.starts), default=0)
        return EventTrace(
            before=before,
            after=after,
            reached=self._reached(state, fired, message_id),
            expired=expired,
            fired=fired,
            broken_by=self._breaker(earlier, lost, bits, timing) if lost and not fired else None,
            cancelled=before.due is not None and (after.due is None or bool(bits & self._cancels)),
            near=near,
            dropped=dropped,
        )

    def expire(self, until: int) -> list[CompletedMatch]:
        """Return the absences that fall due by *until* (ms)."""
        fired = []
        for run in self._runs.values():
            fire = self._machine.code.expire(self._program, run.state, until)
            if fire:
                fired.append(_fired(run.per, fire))
                self._restart_copies(run.per, run.state)
        return sorted(fired, key=lambda each: each.at)

    def runs(self) -> dict[str, Progress]:
        """Return the progress of every run."""
        return {run.per: _progress(run.state) for run in self._runs.values()}

    def _state(self, per: str) -> Any:
        return next((run.state for run in self._runs.values() if run.per == per), None)

    def _restart_copies(self, per: str, state: Any) -> None:
        """Restart the relaxed copies from *state*, after a match."""
        self._copies[per] = {name: self._machine.copy(state) for name in self._relaxed}

    def _reached(self, state: Any, fired: CompletedMatch | None, message_id: str) -> int:
        """Return how many events of a match end in this one."""
        if fired or (state.due and message_id in _ids(state.chain)):
            return int(self.units)
        return self._partial(state, message_id)

    def _partial(self, state: Any, message_id: str) -> int:
        held = _progress(state).starts
        link = dict(state.link.items()) if state.link is not None else {}
        if self._members:
            return len(held) if any(link[n] == message_id for n in held) else 0
        return max((unit for unit in held if link[unit][1] == message_id), default=0)

    def _near(self, name: str, program: Any, state: Any, bits: int, timing: Timing, message_id: str) -> NearMiss | None:
        fire = self._machine.code.advance(program, state, bits, timing.now, timing.at, timing.late, message_id)
        if fire:
            return NearMiss(name, int(self.units), _ids(fire.link))
        reached = self._partial(state, message_id)
        if not reached:
            return None
        if self._members:
            return NearMiss(name, reached, [state.link[n] for n in _progress(state).starts])
        return NearMiss(name, reached, _ids(state.link[reached]))

    def _breaker(self, earlier: Any, lost: int, bits: int, timing: Timing) -> str:
        """Return the constraint by which this event ended progress of *lost* events."""
        for name, program in self._relaxed.items():
            state = self._machine.copy(earlier)
            self._machine.code.advance(program, state, bits, timing.now, timing.at, timing.late, "")
            if lost in _progress(state).starts:
                return name
        return ALL


def relaxed(program: Program) -> dict[str, Program]:
    """Return relaxed copies of *program*: one without each constraint, by its name, and one without any (``ALL``)."""
    plain = {name: value for name, value in program.items() if name != "absent"}
    plain["after"] = "every"
    steps: list[Mapping[str, Any]] = plain.get("steps", [])
    without: dict[str, Program] = {}
    if program["after"] == "overlap":
        without["after_match"] = plain
    if "reset" in plain:
        without["reset_on"] = {name: value for name, value in plain.items() if name != "reset"}
    for constraint, field in STEP_CONSTRAINTS.items():
        if any(field in step for step in steps):
            without[constraint] = plain | {"steps": _without(steps, field)}
    if "within" in plain:
        without["within"] = plain | {"within": ENDLESS_MS}
    if len(without) > 1:
        least = plain | {"within": ENDLESS_MS}
        if steps:
            least["steps"] = _without(steps, *STEP_CONSTRAINTS.values())
        least.pop("reset", None)
        without[ALL] = least
    return without


def _without(steps: list[Mapping[str, Any]], *fields: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in step.items() if name not in fields} for step in steps]


def _progress(state: Any) -> Progress:
    column = state.start if state.start is not None else state["last"]
    # Lua may have filled the list from its end. `items` yields pairs in both cases.
    starts = {int(unit): int(at) for unit, at in column.items()} if column is not None else {}
    return Progress(starts, int(state.due) if state.due else None, bool(state.done))


def _fired(per: str, fire: Any) -> CompletedMatch:
    return CompletedMatch(per, int(fire.at), int(fire.since), fire.reason, _ids(fire.link))


def _ids(link: Any) -> list[str]:
    """Return the message ids of a chain, the earliest first."""
    ids = []
    while link is not None:
        ids.append(link[1])
        link = link[2]
    return list(dict.fromkeys(reversed(ids)))
