"""A brute-force oracle of the trigger language: finds when a trigger fires, from the definition alone.

A match is a tuple of event positions that meets every constraint of the trigger. The oracle tries positions to find
such tuples. It keeps no progress between events, so it shares no idea with ``machine.lua``. Windows, guards and strict
steps only prune branches that cannot give a valid tuple.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Data = Mapping[str, Any]
PerValues = tuple[str | float | bool, ...]

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_MAX_BACKDATE_MS = 300_000


@dataclass(frozen=True)
class Seen:
    """One event of one user; ``at`` (server-corrected) and ``received`` in ms."""

    event: str
    attributes: Data
    at: int
    received: int
    message_id: str


@dataclass(frozen=True)
class Fire:
    """A firing at ``at`` ms; ``last`` is the message id of the completing event, or of an absence's anchor."""

    at: int
    reason: Literal["match", "absence"]
    per: PerValues | None
    last: str


@dataclass(frozen=True)
class Accepted:
    """An event in acceptance order; ``time`` is effective, ``raw`` is not, ``late`` means kill-only."""

    event: str
    attributes: Data
    time: int
    raw: int
    late: bool
    position: int
    message_id: str


Run = Sequence[Accepted]


class Pattern(Protocol):
    """The part of a trigger that events complete."""

    def newest_start(self, end: int, floor: int) -> int | None:
        """Return the newest first position of the matches that end at ``end``, none before ``floor``."""


def fires(trigger: Data, events: Sequence[Seen], *, until: int | None = None) -> list[Fire]:
    """Return every firing of ``trigger`` for one user's events, in order of time, then of resolution.

    ``events`` are in acceptance order. ``until``: the clock runs on to this ms (default: the last effective
    time); absences due by then fire.
    """
    stream = accept(events, milliseconds(trigger.get("max_backdate", _MAX_BACKDATE_MS)))
    clock = stream[-1].time if stream else 0
    clock = clock if until is None else max(clock, until)
    found: list[tuple[int, Fire]] = []
    for per, run in split(stream, trigger.get("per")):
        if "unless" in trigger:
            found += _absences(trigger, run, per, clock, len(stream))
        else:
            found += _matches(trigger, run, per)
    found.sort(key=lambda pair: (pair[1].at, pair[0]))
    return [fire for _, fire in found]


def accept(events: Sequence[Seen], max_backdate: int) -> list[Accepted]:
    """Drop repeated message ids and give each event its effective, never decreasing time."""
    stream: list[Accepted] = []
    known: set[str] = set()
    for seen in events:
        if seen.message_id in known:
            continue
        known.add(seen.message_id)
        time = max(seen.at, stream[-1].time) if stream else seen.at
        late = seen.received - seen.at > max_backdate
        position = len(stream)
        stream.append(Accepted(seen.event, seen.attributes, time, seen.at, late, position, seen.message_id))
    return stream


def split(stream: Run, per: str | Sequence[str] | None) -> list[tuple[PerValues | None, Run]]:
    """Separate the stream by the values of the ``per`` attributes; events without them are left out."""
    if not per:
        return [(None, stream)]
    names = [per] if isinstance(per, str) else list(per)
    runs: dict[tuple[tuple[bool, Any], ...], list[Accepted]] = {}
    for event in stream:
        values = [event.attributes.get(name) for name in names]
        if all(isinstance(value, str | int | float) for value in values):
            # True equals 1 in Python, but they are different values in JSON.
            # Trackers write one id as 7 or as "7".
            runs.setdefault(tuple((isinstance(v, bool), _as_id(v)) for v in values), []).append(event)
    return [(tuple(value for _, value in key), run) for key, run in runs.items()]


def _as_id(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def milliseconds(duration: str | int) -> int:
    """Read ``90s``, ``10m``, ``24h``, ``7d`` or a number of ms."""
    return duration if isinstance(duration, int) else int(duration[:-1]) * _UNITS_MS[duration[-1]]


def names_of(matcher: Data) -> list[str]:
    """Return the event names of a step or matcher."""
    event = matcher["event"]
    return [event] if isinstance(event, str) else list(event)


def meets(event: Accepted, matcher: Data) -> bool:
    """Return whether the event has one of the matcher's names and all of its attributes."""
    return event.event in names_of(matcher) and all(
        name in event.attributes and _equal(event.attributes[name], wanted)
        for name, wanted in (matcher.get("where") or {}).items()
    )


def meets_any(event: Accepted, matchers: Sequence[Data] | None) -> bool:
    """Return whether the event meets at least one of the matchers."""
    return any(meets(event, matcher) for matcher in matchers or ())


def subject_of(trigger: Data) -> set[str]:
    """Return the event names in the stream that ``consecutive`` and ``directly`` refer to."""
    if "subject" in trigger:
        given = trigger["subject"]
        return {given} if isinstance(given, str) else set(given)
    subject: set[str] = set()
    steps = trigger.get("sequence", ())
    for number, step in enumerate(steps):
        if step.get("consecutive") or step.get("directly"):
            subject.update(names_of(step))
        if step.get("directly") and number:
            subject.update(names_of(steps[number - 1]))
    return subject


def pattern_of(trigger: Data, run: Run) -> Pattern:
    """Return the search for the matches of ``trigger`` in ``run``."""
    return AllOf(trigger, run) if "all_of" in trigger else Ordered(trigger, run)


def _equal(value: object, wanted: object) -> bool:
    if isinstance(wanted, Mapping):
        raise TypeError(f"the oracle knows only equality in where, not {wanted!r}")
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def _matches(trigger: Data, run: Run, per: PerValues | None) -> list[tuple[int, Fire]]:
    policy = trigger.get("after_match", "restart")
    pattern = pattern_of(trigger, run)
    found: list[tuple[int, Fire]] = []
    floor, last_start = 0, -1
    for end, event in enumerate(run):
        start = pattern.newest_start(end, floor)
        if start is None or (policy == "overlap" and start <= last_start):
            continue
        found.append((event.position, Fire(event.time, "match", per, event.message_id)))
        if policy == "once":
            break
        last_start = start
        floor = end + 1 if policy == "restart" else 0
    return found


def _absences(trigger: Data, run: Run, per: PerValues | None, clock: int, after_all: int) -> list[tuple[int, Fire]]:
    policy, unless = trigger.get("after_match", "restart"), trigger["unless"]
    wait, moves = milliseconds(unless["for"]), unless.get("anchor", "first") == "last"
    pattern = pattern_of(trigger, run)
    ending = [meets(each, unless) or meets_any(each, trigger.get("reset_on")) for each in run]
    found: list[tuple[int, Fire]] = []
    pending: Accepted | None = None
    floor, last_start = 0, -1
    for end, event in enumerate(run):
        if pending and event.time >= pending.time + wait:
            found.append((event.position, Fire(pending.time + wait, "absence", per, pending.message_id)))
            pending = None
            if policy == "once":
                return found
            floor = end if policy == "restart" else 0
        if pending:
            in_time = pending.raw <= event.raw
            if meets_any(event, trigger.get("reset_on")) or (in_time and meets(event, unless)):
                pending = None
        start = pattern.newest_start(end, floor)
        if start is None or (policy == "overlap" and start <= last_start):
            continue
        last_start = start
        if any(ends and other.raw > event.raw for other, ends in zip(run[:end], ending, strict=False)):
            continue
        if pending is None or moves:
            pending = event
    if pending and pending.time + wait <= clock:
        found.append((after_all, Fire(pending.time + wait, "absence", per, pending.message_id)))
    return found


def _last_reset(trigger: Data, run: Run) -> list[int]:
    """Return for each position the newest reset strictly before it; no match may start earlier."""
    newest, before = 0, []
    for position, event in enumerate(run):
        before.append(newest)
        if meets_any(event, trigger.get("reset_on")):
            newest = position
    return before


class AllOf:
    """Members in any order: each takes an event, one event may serve several."""

    def __init__(self, trigger: Data, run: Run) -> None:
        self._run = run
        self._within = milliseconds(trigger["within"])
        self._last_reset = _last_reset(trigger, run)
        members: Sequence[Data] = trigger["all_of"]
        self._serves = [
            frozenset() if e.late else frozenset(n for n, m in enumerate(members) if meets(e, m)) for e in run
        ]
        self._everyone = frozenset(range(len(members)))

    def newest_start(self, end: int, floor: int) -> int | None:
        """See ``Pattern``."""
        last = self._serves[end]
        for start in range(end, max(floor, self._last_reset[end]) - 1, -1):
            if self._run[end].time - self._run[start].time >= self._within:
                break
            first = self._serves[start]
            if start == end:
                spanned = first == self._everyone
            else:
                two_members = bool(first) and bool(last) and len(first | last) > 1
                spanned = two_members and frozenset().union(*self._serves[start : end + 1]) == self._everyone
            if spanned:
                return start
        return None


@dataclass(frozen=True)
class _Unit:
    """One required event: ``opens`` tells whether it begins a step; no ``breakers`` may follow the unit before."""

    fits: Sequence[bool]
    opens: bool
    gap: int | None
    inner: int | None
    breakers: Sequence[bool]


class Ordered:
    """A sequence of steps; ``times: n`` is n units with the same predicate."""

    def __init__(self, trigger: Data, run: Run) -> None:
        self._run = run
        self._within = milliseconds(trigger["within"]) if "within" in trigger else None
        self._last_reset = _last_reset(trigger, run)
        subject = subject_of(trigger)
        in_subject = [e.event in subject for e in run]
        nothing = [False] * len(run)
        self._units: list[_Unit] = []
        for number, step in enumerate(trigger["sequence"]):
            fits = [not e.late and meets(e, step) for e in run]
            guards = [meets_any(e, step.get("not_before")) for e in run] if number else nothing
            inner = milliseconds(step["inner"]) if "inner" in step else None
            for copy in range(step.get("times", 1)):
                opens = copy == 0
                strict = step.get("directly") if opens else step.get("consecutive")
                breakers = guards if opens else nothing
                if strict:
                    breakers = [a or b for a, b in zip(breakers, in_subject, strict=True)]
                gap = milliseconds(step["gap"]) if opens and number and "gap" in step else None
                self._units.append(_Unit(fits, opens, gap, inner, breakers))

    def newest_start(self, end: int, floor: int) -> int | None:
        """See ``Pattern``."""
        if not self._units[-1].fits[end]:
            return None
        floor = max(floor, self._last_reset[end])
        if self._within is not None:
            while self._run[end].time - self._run[floor].time >= self._within:
                floor += 1
        starts = self._starts(len(self._units) - 1, end, end, floor, {})
        return max(starts, default=None)

    def _starts(
        self, number: int, at: int, closed: int, floor: int, known: dict[tuple[int, int, int], set[int]]
    ) -> set[int]:
        """Return the first positions of all valid tuples whose unit ``number`` is at ``at``.

        ``closed``: position of the last unit of the same step, which an ``inner`` window counts back from.
        ``known``: answers already found for the same end and floor.
        """
        if number == 0:
            return {at}
        unit, before = self._units[number], self._units[number - 1]
        key = (number, at, closed if unit.inner is not None else -1)
        if key in known:
            return known[key]
        starts: set[int] = set()
        time = self._run[at].time
        for previous in range(at - 1, floor - 1, -1):
            earlier = self._run[previous].time
            if unit.gap is not None and time - earlier >= unit.gap:
                break
            if not unit.opens and unit.inner is not None and self._run[closed].time - earlier >= unit.inner:
                break
            if before.fits[previous]:
                end_of_step = previous if unit.opens else closed
                starts |= self._starts(number - 1, previous, end_of_step, floor, known)
            if unit.breakers[previous]:
                break
        known[key] = starts
        return starts
