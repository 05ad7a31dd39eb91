"""Conditions on attributes: ``where`` of an event, the rule of a target group; one language, used twice.

Parsed once (`parse`), then compiled to a closure for events (`predicate`) and to a MongoDB filter for
customers (`mongo_filter`). The two agree on all that JSON can hold:

- A missing attribute makes every comparison false, ``ne`` and ``not_in`` too; null counts as missing.
- So does a value of another type: numbers compare with numbers, text with text; a boolean is no number.
- ``contains`` looks into text (a part of it) and lists (a member); nothing else looks into a list.
- ``matches`` searches: the pattern may match any part of the text; write ``^...$`` for all of it.
- Dates exist in MongoDB only: there an ISO-8601 operand also compares with a stored date, a relative one
  (``-30d``) only with that. To the predicate ISO-8601 is text, and a relative date is never met.
"""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from shared.conditions_mongo import mongo_filter
from shared.conditions_operands import RELATIVE_DATE, compile_pattern, kind
from shared.conditions_parse import Comparison, Condition, Group, check_attribute, parse

__all__ = [
    "Comparison",
    "Condition",
    "Group",
    "attributes",
    "check_attribute",
    "mongo_filter",
    "parse",
    "predicate",
]

Predicate = Callable[[Mapping[str, Any]], bool]
_Check = Callable[[Any], bool]
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def attributes(condition: Condition) -> set[str]:
    """Return the names of the top-level attributes that *condition* reads."""
    if isinstance(condition, Comparison):
        return {condition.path[0]}
    return {name for part in condition.parts for name in attributes(part)}


def predicate(condition: Condition) -> Predicate:
    """Return a function that says whether attributes meet *condition*; it raises nothing."""
    if isinstance(condition, Comparison):
        return _test(condition)
    parts = tuple(predicate(part) for part in condition.parts)
    if condition.mode == "all":
        return _all(parts)

    def any_holds(attributes: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - twice as fast as a generator
            if part(attributes):
                return True
        return False

    if condition.mode == "any":
        return any_holds
    return lambda attributes: not any_holds(attributes)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda attributes: first(attributes) and second(attributes)

    def all_hold(attributes: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - twice as fast as a generator
            if not part(attributes):
                return False
        return True

    return all_hold


def _test(test: Comparison) -> Predicate:
    name = test.path[0]
    if len(test.path) == 1 and test.operator == "eq" and isinstance(test.operand, str):
        # By far the most frequent one, so without a call in between; only text equals text.
        text = test.operand
        return lambda attributes: attributes.get(name) == text
    check = _check(test.operator, test.operand)
    if len(test.path) == 1:
        return lambda attributes: check(attributes.get(name))
    path = test.path[1:]

    def reach(attributes: Mapping[str, Any]) -> bool:
        value = attributes.get(name)
        for part in path:
            if not isinstance(value, dict | Mapping):
                return check(None)
            value = value.get(part)
        return check(value)

    return reach


def _check(operator: str, operand: Any) -> _Check:
    """Return the test of one value; ``None`` stands for a missing one."""
    if operator in ("eq", "in"):
        return _member((operand,) if operator == "eq" else operand)
    if operator in ("ne", "not_in"):
        operands = (operand,) if operator == "ne" else operand
        member, kinds = _member(operands), {kind(value) for value in operands}
        return lambda value: kind(value) in kinds and not member(value)
    if operator in _ORDERS:
        return _order(_ORDERS[operator], operand)
    if operator == "between":
        above, below = _order(ge, operand[0]), _order(le, operand[1])
        return lambda value: above(value) and below(value)
    if operator == "exists":
        return lambda value: (value is not None) is operand
    if operator == "contains":
        member = _member((operand,))
        return lambda value: (
            (isinstance(value, str) and isinstance(operand, str) and operand in value)
            or (isinstance(value, list | tuple) and any(member(each) for each in value))
        )
    if operator == "starts_with":
        return lambda value: isinstance(value, str) and value.startswith(operand)
    if operator == "ends_with":
        return lambda value: isinstance(value, str) and value.endswith(operand)
    return _search(operand)


def _member(operands: tuple[Any, ...]) -> _Check:
    # One set per type: to Python, 1 and True are the same member.
    sets = {
        name: frozenset(value for value in operands if kind(value) == name) for name in ("string", "number", "bool")
    }
    texts, numbers, booleans = sets["string"], sets["number"], sets["bool"]

    def member(value: Any) -> bool:
        if isinstance(value, str):
            return value in texts
        if isinstance(value, bool):
            return value in booleans
        return isinstance(value, int | float) and value in numbers

    return member


def _order(compare: Callable[[Any, Any], bool], operand: Any) -> _Check:
    if isinstance(operand, str):
        if RELATIVE_DATE.fullmatch(operand):
            return lambda _: False
        return lambda value: isinstance(value, str) and compare(value, operand)
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, operand)


def _search(pattern: str) -> _Check:
    search = compile_pattern(pattern).search

    def matches(value: Any) -> bool:
        # RE2 reads UTF-8, which half of a surrogate pair does not have.
        return isinstance(value, str) and search(value.encode("utf-8", "replace")) is not None

    return matches
