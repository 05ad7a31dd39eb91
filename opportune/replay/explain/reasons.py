"""Explain in words which rule keeps a chain of events from being a match."""

from collections.abc import Sequence
from typing import NamedTuple

from definitions.model.trigger import Trigger
from opportune.events.streams import Recorded
from opportune.replay.explain import words
from shared.ruleset import Program


class Applied(NamedTuple):
    """An event of a run, and its roles in the trigger (``bits``)."""

    event: Recorded
    bits: int


class History:
    """The events of one run so far, the newest last."""

    def __init__(self, trigger: Trigger, program: Program) -> None:
        self._trigger = trigger
        self._program = program
        self._places = words.places(trigger)
        self._events: list[Applied] = []
        self._numbers: dict[str, int] = {}

    def add(self, event: Recorded, bits: int) -> None:
        """Append an event that the run has accepted."""
        self._numbers[event.message_id] = len(self._events)
        self._events.append(Applied(event, bits))

    def lasted(self, message_ids: Sequence[str]) -> int:
        """Return the ms from the first of these events to the last."""
        times = [self._events[self._numbers[name]].event.at for name in message_ids]
        return max(times) - min(times)

    def reason(self, constraint: str, message_ids: Sequence[str]) -> str:
        """Return how the events *message_ids* violate *constraint*, or any constraint if it is ``all``."""
        chain = sorted(self._numbers[name] for name in message_ids)
        kinds = (constraint,) if constraint != "all" else ("within", "gap", "inner", *_BETWEEN, "reset_on")
        found = [text for kind in kinds for text in self._violations(kind, chain)]
        return " and ".join(found) or f"{constraint} does not allow it"

    def _violations(self, constraint: str, chain: list[int]) -> list[str]:
        if constraint == "within":
            return self._too_long(chain)
        if constraint == "after_match":
            return ["each event can begin only one match, and the first event of this one already did"]
        if constraint == "reset_on":
            return self._seen("reset_on", range(chain[0] + 1, chain[-1] + 1), self._program.get("reset", 0))
        if not self._trigger.sequence:
            return []
        found = []
        for unit in range(1, len(chain)):
            if constraint in _BETWEEN:
                found += self._between(constraint, chain, unit)
            else:
                found += self._too_slow(constraint, chain, unit)
        return found

    def _too_long(self, chain: list[int]) -> list[str]:
        within = self._trigger.within
        took = self._took(chain[0], chain[-1])
        if within is None or took < within:
            return []
        return [f"{self._distance(chain, 0, len(chain) - 1, took)}; {_limit('within', within, took)}"]

    def _too_slow(self, constraint: str, chain: list[int], unit: int) -> list[str]:
        k, n = self._places[unit]
        step = (self._trigger.sequence or ())[k]
        if constraint == "gap" and step.gap is not None and n == 1:
            took = self._took(chain[unit - 1], chain[unit])
            if took >= step.gap:
                return [f"{self._distance(chain, unit - 1, unit, took)}; {_limit('gap', step.gap, took)}"]
        first = unit - n + 1
        if constraint == "inner" and step.inner is not None and unit == min(first + step.times, len(chain)) - 1:
            took = self._took(chain[first], chain[unit])
            if took >= step.inner:
                return [f"{self._distance(chain, first, unit, took)}; {_limit('inner', step.inner, took)}"]
        return []

    def _between(self, constraint: str, chain: list[int], unit: int) -> list[str]:
        k, n = self._places[unit]
        step = (self._trigger.sequence or ())[k]
        between = range(chain[unit - 1] + 1, chain[unit])
        if constraint == "not_before" and n == 1 and step.not_before:
            return self._seen("not_before", between, self._program["steps"][k]["guard"])
        subject = self._program.get("subject", 0)
        if constraint == "consecutive" and step.consecutive and n > 1:
            return self._seen("consecutive", between, subject)
        if constraint == "directly" and step.directly and n == 1:
            return self._seen("directly", between, subject)
        return []

    def _seen(self, constraint: str, numbers: range, weight: int) -> list[str]:
        found = [self._events[number].event for number in numbers if self._events[number].bits & weight]
        if not found:
            return []
        last = found[-1]
        what = f"{words.event(last, self._trigger)} at {words.stamp(last.at, near=self._events[-1].event.at)}"
        more = f" and {len(found) - 1} before it" if len(found) > 1 else ""
        return [_BROKEN[constraint].format(what=what, more=more)]

    def _took(self, first: int, last: int) -> int:
        return self._events[last].event.at - self._events[first].event.at

    def _distance(self, chain: list[int], first: int, last: int, took: int) -> str:
        """Return ``the 3rd view came 11m after the 1st``."""
        if not self._trigger.sequence:
            names = [self._events[chain[n]].event.event for n in (first, last)]
            return f"{names[1]} came {words.duration(took)} after {names[0]}"
        (k, n), (j, m) = self._places[last], self._places[first]
        steps = self._trigger.sequence
        late = words.label(steps[k])
        early = "" if k == j else f" {words.label(steps[j])}"
        if k == j or steps[k].times > 1:
            late = f"the {words.ordinal(n)} {late}"
        if k == j or steps[j].times > 1:
            early = f"the {words.ordinal(m)}{early}"
        return f"{late} came {words.duration(took)} after {early.strip()}"


_BETWEEN = ("not_before", "directly", "consecutive")
_BROKEN = {
    "reset_on": "reset_on saw {what}{more}",
    "not_before": "the guard not_before saw {what}{more}",
    "consecutive": "{what}{more} in between broke the row",
    "directly": "{what}{more} came in between, and 'directly' allows none",
}


def _limit(name: str, limit: int, took: int) -> str:
    exactly = ", and that means less" if took == limit else ""
    return f"{name} is {words.duration(limit)}{exactly}"
