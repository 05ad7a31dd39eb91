"""Which triggers an event concerns, and what it is to each: the ruleset as a lookup by event name."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from shared import conditions
from shared.ruleset import Campaign, Ruleset

DAY_MS = 86_400_000
LONGEST_RUN_NAME = 96

Predicate = Callable[[Mapping[str, Any]], bool]


class Concern(NamedTuple):
    """A trigger that an event concerns: ``bits`` tells ``machine.lua`` what it is to it, ``per`` the run."""

    campaign: Campaign
    bits: int
    per: str


class _Candidate(NamedTuple):
    campaign: Campaign
    always: int  # bits of the matchers without a condition
    tests: list[tuple[Predicate, int]]
    per: list[str]


class Plan:
    """A ruleset, ready to be asked about events."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.by_trigger = {campaign.trigger.key: campaign for campaign in ruleset.campaigns}
        self.has_groups = any(not campaign.everyone for campaign in ruleset.campaigns)
        horizon = max((campaign.trigger.horizon for campaign in ruleset.campaigns), default=0)
        self.ttl_ms = horizon + 2 * DAY_MS
        self._candidates: dict[str, list[_Candidate]] = {}
        self._reads: dict[str, set[str]] = {}
        for campaign in ruleset.campaigns:
            self._add(campaign)

    def _add(self, campaign: Campaign) -> None:
        trigger = campaign.trigger
        for name in {event for matcher in trigger.matchers for event in matcher.events}:
            always, tests = 0, []
            reads = self._reads.setdefault(name, set())
            reads.update(trigger.per, campaign.reads)
            for matcher in trigger.matchers:
                if name not in matcher.events:
                    continue
                if matcher.where:
                    condition = conditions.parse(matcher.where)
                    tests.append((conditions.predicate(condition), matcher.bits))
                    reads.update(conditions.attributes(condition))
                else:
                    always |= matcher.bits
            candidate = _Candidate(campaign, always, tests, trigger.per)
            self._candidates.setdefault(name, []).append(candidate)

    def catalogue(self) -> dict[str, list[str]]:
        """Return each event name that a live trigger mentions with the attributes that are read of it."""
        return {name: sorted(attribute.split(".", 1)[0] for attribute in reads) for name, reads in self._reads.items()}

    def concerns(self, event: str, attributes: Mapping[str, Any]) -> list[Concern]:
        """Return the triggers that *event* means anything to; none for most events."""
        found = []
        for campaign, always, tests, per in self._candidates.get(event, ()):
            bits = always
            for predicate, weight in tests:
                if predicate(attributes):
                    bits |= weight
            if not bits:
                continue
            run = ""
            if per:
                named = run_name(per, attributes)
                if named is None:
                    continue
                run = named
            found.append(Concern(campaign, bits, run))
        return found


def run_name(per: list[str], attributes: Mapping[str, Any]) -> str | None:
    """Return the name of the run that an event belongs to: the JSON of its values of *per*.

    ``None`` where an attribute is missing or is no string, number or boolean: such an event belongs to no
    run. A name over 96 characters is replaced by its hash, so that a row stays small.
    """
    values: list[Any] = []
    for name in per:
        value: Any = attributes
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if not isinstance(value, str | int | float):
            return None
        values.append(int(value) if isinstance(value, float) and value.is_integer() else value)
    text = msgspec.json.encode(values).decode()
    if len(text) > LONGEST_RUN_NAME:
        return "#" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return text
