"""Index a ruleset by event name: which campaigns an event matters to, and what it is to each."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from decider.policy import policy
from shared.conditions.parsing import parse_condition
from shared.conditions.paths import get_value, names_sent
from shared.conditions.predicate import compile_predicate
from shared.conditions.tree import find_attributes
from shared.ruleset import Campaign, Matcher, Ruleset

DAY_MS = 86_400_000
MAX_RUN_NAME = 96

Predicate = Callable[[Mapping[str, Any]], bool]


class Hit(NamedTuple):
    """A campaign that an event matters to.

    ``bits``: what the event is to the trigger, as ``machine.lua`` reads it.
    ``per``: the run that it belongs to.
    ``watch``: what it is to earlier activations, as ``gates.lua`` reads it.
    """

    campaign: Campaign
    bits: int
    per: str
    watch: int = 0


class Candidate(NamedTuple):
    """A campaign with a trigger that names an event.

    ``number``: the campaign's place in the ruleset.
    ``bits_of``: returns what the event is to the trigger, given its attributes; 0 for nothing.
    ``per``: the attributes that name the run.
    """

    campaign: Campaign
    number: int
    bits_of: Callable[[Mapping[str, Any]], int]
    per: list[str]


class Watcher(NamedTuple):
    """A campaign with earlier activations that an event may cancel or convert; fields as in `Candidate`."""

    campaign: Campaign
    bits_of: Callable[[Mapping[str, Any]], int]


class EventIndex:
    """A ruleset, indexed by event name.

    ``ttl_ms``: how long a row lives after its last event.
    """

    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.by_trigger = {campaign.trigger.key: campaign for campaign in ruleset.campaigns}
        self.has_offers = any(campaign.until_seen for campaign in ruleset.campaigns)
        self.has_groups = any(not campaign.everyone for campaign in ruleset.campaigns)
        self.policies = {campaign.id: policy(campaign, ruleset.caps) for campaign in ruleset.campaigns}
        horizon = max(
            (max(campaign.trigger.horizon, self.policies[campaign.id].horizon) for campaign in ruleset.campaigns),
            default=0,
        )
        self.ttl_ms = horizon + 2 * DAY_MS
        self.candidates: dict[str, list[Candidate]] = {}
        self._watchers: dict[str, list[Watcher]] = {}
        self._reads: dict[str, set[str]] = {}
        for number, campaign in enumerate(ruleset.campaigns):
            trigger = campaign.trigger
            for name, bits_of in self._compiled(trigger.matchers, trigger.per, campaign.reads):
                candidate = Candidate(campaign, number, bits_of, trigger.per)
                self.candidates.setdefault(name, []).append(candidate)
            for name, bits_of in self._compiled(campaign.watchers, trigger.per):
                self._watchers.setdefault(name, []).append(Watcher(campaign, bits_of))

    def _compiled(
        self, matchers: Sequence[Matcher], *read: Sequence[str]
    ) -> Iterator[tuple[str, Callable[[Mapping[str, Any]], int]]]:
        """Yield each event name of *matchers* with the function from attributes to bits.

        *read*: attributes that are read in any case.
        """
        for name in {event for matcher in matchers for event in matcher.events}:
            always = 0
            tests: list[tuple[Predicate, int]] = []
            reads = self._reads.setdefault(name, set())
            reads.update(*read)
            for matcher in matchers:
                if name not in matcher.events:
                    continue
                if matcher.where:
                    condition = parse_condition(matcher.where)
                    tests.append((compile_predicate(condition), matcher.bits))
                    reads.update(find_attributes(condition))
                else:
                    always |= matcher.bits
            yield name, _bits_of(always, tests)

    def catalogue(self) -> dict[str, list[str]]:
        """Return the event names that a live trigger uses, each with the attributes that are read."""
        return {
            name: sorted({sent for attribute in reads for sent in names_sent(attribute)})
            for name, reads in self._reads.items()
        }

    def lookup(self, event: str, attributes: Mapping[str, Any]) -> list[Hit]:
        """Return the campaigns that *event* matters to: none for most events."""
        found: list[Hit] = []
        for campaign, _, bits_of, per in self.candidates.get(event, ()):
            bits = bits_of(attributes)
            run = run_name(per, attributes) if per else ""
            if bits and run is not None:
                found.append(Hit(campaign, bits, run))
        for campaign, bits_of in self._watchers.get(event, ()):
            watch = bits_of(attributes)
            if watch:
                place = next((n for n, each in enumerate(found) if each.campaign is campaign), None)
                if place is not None:
                    found[place] = found[place]._replace(watch=watch)
                else:  # without the attributes of `per`, it concerns every run
                    per = campaign.trigger.per
                    found.append(Hit(campaign, 0, (run_name(per, attributes) if per else "") or "", watch))
        return found


def _bits_of(always: int, tests: list[tuple[Predicate, int]]) -> Callable[[Mapping[str, Any]], int]:
    """Return the function from attributes to bits. The two most common shapes have a faster one."""
    if not tests:
        return lambda _: always
    if len(tests) == 1:
        ((predicate, weight),) = tests
        both = always | weight
        return lambda attributes: both if predicate(attributes) else always

    def bits_of(attributes: Mapping[str, Any]) -> int:
        bits = always
        for predicate, weight in tests:
            if predicate(attributes):
                bits |= weight
        return bits

    return bits_of


def run_name(per: list[str], attributes: Mapping[str, Any]) -> str | None:
    """Return the name of the run that an event belongs to: the JSON of its values of *per*.

    Trackers write one id as 7 or as "7": both name the same run.
    ``None`` if an attribute is missing or is not a string, number or boolean: such an event belongs to no run.
    A name of more than 96 characters is replaced by its hash, so that rows stay small.
    """
    values: list[Any] = []
    for name in per:
        value: Any = get_value(attributes, name.split("."))
        if not isinstance(value, str | int | float):
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        values.append(value if isinstance(value, bool) else str(value))
    text = msgspec.json.encode(values).decode()
    if len(text) > MAX_RUN_NAME:
        return "#" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return text
