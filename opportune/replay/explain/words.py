"""Put triggers, events, durations and times into words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from definitions.model.trigger import Matcher, Step, Trigger
from opportune.events.streams import Recorded
from shared.conditions.parsing import parse_condition
from shared.conditions.paths import EACH, get_value, get_values
from shared.conditions.predicate import compile_predicate

UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_SIGNS = {
    "eq": "=",
    "ne": "≠",
    "gt": ">",
    "gte": "≥",
    "lt": "<",
    "lte": "≤",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "starts_with": "starts with",
    "ends_with": "ends with",
    "matches": "matches",
}
_GROUPS = {"any_of": " or ", "all_of": " and ", "none_of": " nor "}


def duration(milliseconds: int) -> str:
    """Return a duration to the millisecond: ``10m``, ``1h 2m``, ``10m 1ms``."""
    parts = []
    rest = milliseconds
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def about(milliseconds: float) -> str:
    """Return a duration in its two largest units; under ten seconds with a decimal."""
    if 0 < milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    if milliseconds < 9950:
        return f"{milliseconds / 1000:.1f}".removesuffix(".0") + "s"
    size = next(size for _, size in UNITS if milliseconds >= size)
    finer = max(1000, next((below for _, below in UNITS if below < size), 1))
    return duration(round(milliseconds / finer) * finer)


def stamp(at: int, *, near: int | None = None) -> str:
    """Return a time in UTC: milliseconds only if there are any, the day only if *near* is on another."""
    try:
        time = datetime.fromtimestamp(at // 1000, UTC)
    except (ValueError, OverflowError, OSError):  # outside the years 1 to 9999
        return f"{at} ms"
    shown = f"{time:%H:%M:%S}" + (f".{at % 1000:03}" if at % 1000 else "")
    if near is not None and at // UNITS[0][1] == near // UNITS[0][1]:
        return shown
    return f"{time:%Y-%m-%d} {shown}"


def day(at: int) -> str:
    """Return the day of a time, in UTC."""
    return stamp(at).split()[0]


def count(number: int, what: str) -> str:
    """Return ``1 user``, ``2 users``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th …"""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def label(matcher: Matcher) -> str:
    """Return the events of a matcher: ``game_result (outcome = win)``."""
    names = " or ".join(matcher.event)
    return f"{names} ({where(matcher.where)})" if matcher.where else names


def labels(matchers: Iterable[Matcher]) -> str:
    """Return the events of several matchers, joined by *or*."""
    return " or ".join(label(matcher) for matcher in matchers)


def where(condition: Mapping[str, Any]) -> str:
    """Return a condition in words."""
    return ", ".join(text for name, wanted in condition.items() for text in _tests(name, wanted))


def _tests(name: str, wanted: Any) -> Iterator[str]:
    if name in _GROUPS:
        parts = _GROUPS[name].join(where(part) for part in wanted)
        negation = "neither" if len(wanted) > 1 else "not"
        yield f"{negation} {parts}" if name == "none_of" else f"({parts})"
    elif not isinstance(wanted, Mapping):
        yield f"{name} = {value(wanted)}"
    else:
        for operator, operand in wanted.items():
            if operator == "exists":
                yield f"{name} {'is there' if operand else 'is missing'}"
            elif operator == "between":
                yield f"{name} from {value(operand[0])} to {value(operand[1])}"
            else:
                yield f"{name} {_SIGNS[operator]} {value(operand)}"


def value(given: Any) -> str:
    """Return an attribute's value as in JSON; text without quotes."""
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, list | tuple):
        return ", ".join(value(each) for each in given)
    return str(given)


def run(name: str) -> str:
    """Return the values of a run; its name is their JSON, or a hash, which is returned unchanged."""
    return name if name.startswith("#") else value(msgspec.json.decode(name))


def attribute(name: str, attributes: Mapping[str, Any]) -> Any:
    """Return the value of a dotted attribute, or ``None``; the list of values of one with ``[]``."""
    path = name.split(".")
    return get_values(attributes, path) if EACH in name else get_value(attributes, path)


def unmet(matcher: Matcher, attributes: Mapping[str, Any]) -> str:
    """Return the parts of ``where`` that an event fails: ``outcome is loss, expected: outcome = win``."""
    failed = []
    for name, wanted in matcher.where.items():
        if compile_predicate(parse_condition({name: wanted}))(attributes):
            continue
        tests = ", ".join(_tests(name, wanted))
        if name in _GROUPS:
            failed.append(f"not {tests}")
            continue
        found = attribute(name, attributes)
        is_now = f"{name} is {value(found)}" if found is not None else f"{name} is missing"
        failed.append(f"{is_now}, expected: {tests}")
    return "; ".join(failed)


def event(seen: Recorded, trigger: Trigger) -> str:
    """Return an event with the attributes that *trigger* reads."""
    names = dict.fromkeys(name for _, matcher in trigger.matchers() for name in matcher.where if name not in _GROUPS)
    shown = [(name, attribute(name, seen.attributes)) for name in (*names, *trigger.per)]
    text = ", ".join(f"{name}: {value(found)}" for name, found in dict(shown).items() if found is not None)
    return f"{seen.event} ({text})" if text else seen.event


def places(trigger: Trigger) -> list[tuple[int, int]]:
    """Return, for every event of a sequence's match, its step (from 0) and its number within the step (from 1)."""
    return [(k, n) for k, step in enumerate(trigger.sequence or ()) for n in range(1, step.times + 1)]


def progress(trigger: Trigger, reached: int) -> str:
    """Return the progress of *reached* events: ``2 of 3 view``, ``step 1 of 2 (cart)``."""
    steps = trigger.sequence
    if not steps:
        return f"{reached} of {len(trigger.all_of or ())} events"
    k, n = places(trigger)[reached - 1]
    step, name = steps[k], label(steps[k])
    if len(steps) == 1:
        return f"{n} of {step.times} {name}"
    where_in = f"step {k + 1} of {len(steps)}"
    return f"{where_in} ({name})" if step.times == 1 else f"{where_in}: {n} of {step.times} {name}"


def sentence(trigger: Trigger) -> str:
    """Return the whole trigger as one sentence."""
    if trigger.sequence:
        text = ", then ".join(_step(step) for step in trigger.sequence)
    else:
        text = " and ".join(label(matcher) for matcher in trigger.all_of or ()) + ", in any order"
    if trigger.within is not None:
        text += f", within {duration(trigger.within)}"
    if trigger.unless is not None:
        anew = " (the wait restarts each time)" if trigger.unless.anchor == "last" else ""
        text += f", then no {label(trigger.unless)} for {duration(trigger.unless.for_)}{anew}"
    if trigger.reset_on:
        text += f"; {labels(trigger.reset_on)} resets it"
    if trigger.per:
        text += f"; separately for each {_and(trigger.per)}"
    if trigger.after_match != "restart":
        text += {
            "overlap": "; matches may overlap",
            "every": "; every event that completes a match counts",
            "once": "; once per user",
        }[trigger.after_match]
    return text


def _step(step: Step) -> str:
    text = f"{step.times} × {label(step)}" if step.times > 1 else label(step)
    if step.directly:
        text = f"directly {text}"
    if step.consecutive:
        text += " in a row"
    if step.inner is not None:
        text += f" in less than {duration(step.inner)}"
    if step.gap is not None:
        text += f" less than {duration(step.gap)} later"
    if step.not_before:
        text += f" with no {labels(step.not_before)} before it"
    return text


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
