"""Random pairs of a trigger and one user's events, small enough for the oracle and rich in ties.

This uses ``random.Random`` instead of hypothesis: it makes tens of thousands of pairs in seconds, and a seed identifies
the pair that failed. Times and windows are small whole seconds, so exact boundaries are common.
"""

from collections.abc import Collection
from random import Random
from typing import Any

from tests.support.oracle import Seen

Data = dict[str, Any]

ALL = frozenset(
    {
        "lists",  # a step or matcher may name several events
        "where",  # equality on attributes
        "times",
        "consecutive",  # needs times
        "directly",
        "subject",  # needs a strict step; holds always the events that it would by default
        "gap",
        "inner",  # needs times
        "not_before",
        "all_of",
        "within",  # tight windows; without it, they are there where needed, but wide
        "reset_on",
        "unless",
        "anchor",  # of unless: last as well as first
        "per",
        "after_match",
        "out_of_order",
        "max_backdate",  # and late events
        "duplicates",  # of message ids
    }
)
#: Not in ``ALL``: a subject that lacks some of the strict steps' own events.
LOOSE_SUBJECT = "loose_subject"

_NAMES = ("A", "B", "C", "D")
_VALUES = ("x", "y")
_PER_VALUES = ("p", "q", 7, False)
_NOT_SCALAR = (None, ["p"], {"p": 1})
_FEW = 6
_MAX_UNITS = 6
_MAX_EVENTS = 12
_WIDE_S = 60
_EPOCH_MS = 1_790_000_000_000


def random_pair(rng: Random, *, features: Collection[str] = ALL) -> tuple[Data, list[Seen]]:
    """Return a valid ``trigger:`` object and up to 12 events; the same ``rng`` state gives the same pair."""
    if len(features) > _FEW:
        # With all features at once, few pairs show each of them: give some pairs only a part.
        share = rng.choice((0.3, 0.6, 1.0))
        features = {name for name in sorted(features) if rng.random() < share}
    trigger = random_trigger(rng, features=features)
    return trigger, random_events(rng, trigger, features=features)


def random_trigger(rng: Random, *, features: Collection[str] = ALL) -> Data:
    """Return a ``trigger:`` object that uses only the named features."""
    trigger: Data = {}
    if "all_of" in features and rng.random() < (0.15 if len(features) > _FEW else 0.4):
        trigger["all_of"] = [_matcher(rng, features) for _ in range(rng.choice((2, 2, 3, 4)))]
        trigger["within"] = _window(rng, features, 2, 6)
    else:
        trigger["sequence"] = _steps(rng, features)
        units = sum(step.get("times", 1) for step in trigger["sequence"])
        if units > 1 or ("within" in features and rng.random() < 0.1):
            trigger["within"] = _window(rng, features, 1, 2 * units + 2)
        if _strict(trigger["sequence"]):
            _add_subject(rng, features, trigger)
    if _some(rng, features, "reset_on"):
        trigger["reset_on"] = _matchers(rng, features)
    if _some(rng, features, "unless", 0.35):
        trigger["unless"] = _matcher(rng, features) | {"for": _seconds(rng, 1, 7)}
        if "anchor" in features:
            trigger["unless"] |= rng.choice(({}, {"anchor": "first"}, {"anchor": "last"}, {"anchor": "last"}))
    if _some(rng, features, "per"):
        trigger["per"] = rng.choice(("c", ["c"], ["c", "v"]))
    if "after_match" in features:
        trigger |= rng.choice(({}, *({"after_match": policy} for policy in ("restart", "overlap", "every", "once"))))
    if _some(rng, features, "max_backdate", 0.4):
        trigger["max_backdate"] = _seconds(rng, 1, 4)
    return trigger


def random_events(rng: Random, trigger: Data, *, features: Collection[str] = ALL) -> list[Seen]:
    """Return events in acceptance order; most of the time they contain a match of ``trigger``."""
    per = trigger.get("per", ())
    values = rng.sample(_PER_VALUES, rng.choice((1, 2, 2, 3, 4))) if per else []
    events: list[Seen] = []
    clock = _EPOCH_MS
    for matcher in _plan(rng, trigger)[:_MAX_EVENTS]:
        clock += 1000 * rng.choice((0, 0, 0, 1, 1, 1, 2, 3))
        late_s = 0
        kills = matcher is trigger.get("unless")
        if "max_backdate" in trigger and rng.random() < (0.6 if kills else 0.25):
            late_s = rng.randint(0, 6)
        elif "out_of_order" in features and rng.random() < 0.15:
            late_s = rng.randint(1, 3)
        attributes: Data = {}
        if "where" in features and rng.random() < 0.95:
            attributes["v"] = rng.choice(_VALUES)
        attributes |= matcher.get("where", {})
        if per and rng.random() < 0.95:
            value = values[0] if rng.random() < 0.6 else rng.choice(values)
            attributes["c"] = value if rng.random() < 0.97 else rng.choice(_NOT_SCALAR)
        name = rng.choice(_names_of(matcher))
        message_id = f"m{len(events)}"
        if "duplicates" in features and events and rng.random() < 0.06:
            message_id = rng.choice(events).message_id
        events.append(Seen(name, attributes, clock - 1000 * late_s, clock, message_id))
    return events


def _plan(rng: Random, trigger: Data) -> list[Data]:
    """Return what to send: the events of a match with some others in between, or anything."""
    killers = [*trigger.get("reset_on", ())]
    if "unless" in trigger:
        killers.append(trigger["unless"])
    wanted: list[Data] = []
    for step in trigger.get("sequence", ()):
        killers += step.get("not_before", ())
        wanted += [step] * step.get("times", 1)
    plan: list[Data] = []
    noise = rng.choice((0.0, 0.1, 0.2, 0.4))
    for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
        members = wanted or rng.sample(trigger["all_of"], len(trigger["all_of"]))
        for member in members:
            while rng.random() < noise:
                plan.append(rng.choice([*killers, *members, _anything(rng)]))
            plan.append(member)
    plan += [_anything(rng) for _ in range(rng.choice((0, 1, 4) if plan else (0, 4, 8, 12)))]
    return plan


def _steps(rng: Random, features: Collection[str]) -> list[Data]:
    steps: list[Data] = []
    left = _MAX_UNITS
    # A single step without `times` tests little, but is a trigger as well.
    for number in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        step = _matcher(rng, features)
        if left > 1 and _some(rng, features, "times", 0.4):
            step["times"] = rng.randint(2, min(left, rng.choice((2, 3, 4))))
            if _some(rng, features, "consecutive", 0.5):
                step["consecutive"] = True
            if _some(rng, features, "inner"):
                step["inner"] = _seconds(rng, 1, 4)
        if number:
            if _some(rng, features, "directly", 0.3):
                step["directly"] = True
            if _some(rng, features, "gap"):
                step["gap"] = _seconds(rng, 1, 4)
            if _some(rng, features, "not_before"):
                step["not_before"] = _matchers(rng, features)
        left -= step.get("times", 1)
        steps.append(step)
        if not left:
            break
    return steps


def _add_subject(rng: Random, features: Collection[str], trigger: Data) -> None:
    if LOOSE_SUBJECT in features and rng.random() < 0.5:
        trigger["subject"] = rng.sample(_NAMES, rng.randint(1, 3))
    elif _some(rng, features, "subject", 0.5):
        own = {name for step in _strict(trigger["sequence"]) for name in _names_of(step)}
        trigger["subject"] = sorted(own | {rng.choice(_NAMES)})


def _strict(steps: list[Data]) -> list[Data]:
    """Return the steps whose events the subject stream holds in any case."""
    strict: list[Data] = []
    for before, step in zip([None, *steps], steps, strict=False):
        if step.get("consecutive") or step.get("directly"):
            strict.append(step)
        if step.get("directly") and before:
            strict.append(before)
    return strict


def _matchers(rng: Random, features: Collection[str]) -> list[Data]:
    return [_matcher(rng, features) for _ in range(rng.choice((1, 1, 2)))]


def _matcher(rng: Random, features: Collection[str]) -> Data:
    matcher: Data = {"event": rng.choice(_NAMES)}
    if _some(rng, features, "lists", 0.2):
        matcher["event"] = rng.sample(_NAMES, rng.choice((1, 2, 2)))
    if _some(rng, features, "where", 0.3):
        matcher["where"] = {"v": rng.choice(_VALUES)}
    return matcher


def _names_of(matcher: Data) -> list[str]:
    event = matcher["event"]
    return [event] if isinstance(event, str) else list(event)


def _anything(rng: Random) -> Data:
    return {"event": rng.choice(_NAMES)}


def _window(rng: Random, features: Collection[str], low: int, high: int) -> str:
    return _seconds(rng, low, high) if "within" in features else f"{_WIDE_S}s"


def _seconds(rng: Random, low: int, high: int) -> str:
    return f"{rng.randint(low, high)}s"


def _some(rng: Random, features: Collection[str], name: str, share: float = 0.25) -> bool:
    return name in features and rng.random() < share
