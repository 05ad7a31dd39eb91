"""Compile conditions to functions that test event attributes."""

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from typing import Any

from shared.conditions.operands import RELATIVE_DATE, compile_pattern, kind_of
from shared.conditions.paths import EACH, get_value, get_values
from shared.conditions.tree import Comparison, Condition

Predicate = Callable[[Mapping[str, Any]], bool]
_Check = Callable[[Any], bool]
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


def compile_predicate(condition: Condition) -> Predicate:
    """Return a function that says whether attributes meet *condition*. It never raises."""
    if isinstance(condition, Comparison):
        return _compile_comparison(condition)
    parts = tuple(compile_predicate(part) for part in condition.parts)
    if condition.mode == "all":
        return _compile_all(parts)

    def any_holds(attributes: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - twice as fast as a generator
            if part(attributes):
                return True
        return False

    if condition.mode == "any":
        return any_holds
    return lambda attributes: not any_holds(attributes)


def _compile_all(parts: tuple[Predicate, ...]) -> Predicate:
    if len(parts) == 2:
        first, second = parts
        return lambda attributes: first(attributes) and second(attributes)

    def all_hold(attributes: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - twice as fast as a generator
            if not part(attributes):
                return False
        return True

    return all_hold


def _compile_comparison(comparison: Comparison) -> Predicate:
    name = comparison.path[0]
    is_plain = len(comparison.path) == 1 and not name.endswith(EACH)
    if is_plain and comparison.operator == "eq" and isinstance(comparison.operand, str):
        # The most frequent comparison avoids a second call. Only text equals text.
        text = comparison.operand
        return lambda attributes: attributes.get(name) == text
    check = _compile_check(comparison.operator, comparison.operand)
    if is_plain:
        return lambda attributes: check(attributes.get(name))
    path = comparison.path
    if not any(part.endswith(EACH) for part in path):
        return lambda attributes: check(get_value(attributes, path))
    if comparison.operator == "exists":
        return lambda attributes: bool(get_values(attributes, path)) is comparison.operand

    def check_each(attributes: Mapping[str, Any]) -> bool:
        return any(check(value) for value in get_values(attributes, path))

    return check_each


def _compile_check(operator: str, operand: Any) -> _Check:
    """Return the check of one value; ``None`` stands for a missing one."""
    if operator in ("eq", "in"):
        return _compile_member((operand,) if operator == "eq" else operand)
    if operator in ("ne", "not_in"):
        operands = (operand,) if operator == "ne" else operand
        member, kinds = _compile_member(operands), {kind_of(value) for value in operands}
        return lambda value: kind_of(value) in kinds and not member(value)
    if operator in _ORDERS:
        return _compile_order(_ORDERS[operator], operand)
    if operator == "between":
        above, below = _compile_order(ge, operand[0]), _compile_order(le, operand[1])
        return lambda value: above(value) and below(value)
    if operator == "exists":
        return lambda value: (value is not None) is operand
    if operator == "contains":
        member = _compile_member((operand,))
        return lambda value: (
            (isinstance(value, str) and isinstance(operand, str) and operand in value)
            or (isinstance(value, list | tuple) and any(member(each) for each in value))
        )
    if operator == "starts_with":
        return lambda value: isinstance(value, str) and value.startswith(operand)
    if operator == "ends_with":
        return lambda value: isinstance(value, str) and value.endswith(operand)
    return _compile_search(operand)


def _compile_member(operands: tuple[Any, ...]) -> _Check:
    # One set per type, because 1 and True are equal in Python.
    sets = {
        name: frozenset(value for value in operands if kind_of(value) == name) for name in ("string", "number", "bool")
    }
    texts, numbers, booleans = sets["string"], sets["number"], sets["bool"]

    def member(value: Any) -> bool:
        if isinstance(value, str):
            return value in texts
        if isinstance(value, bool):
            return value in booleans
        return isinstance(value, int | float) and value in numbers

    return member


def _compile_order(compare: Callable[[Any, Any], bool], operand: Any) -> _Check:
    if isinstance(operand, str):
        if RELATIVE_DATE.fullmatch(operand):
            return lambda _: False
        return lambda value: isinstance(value, str) and compare(value, operand)
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and compare(value, operand)


def _compile_search(pattern: str) -> _Check:
    search = compile_pattern(pattern).search

    def matches(value: Any) -> bool:
        # RE2 reads UTF-8, which cannot encode a lone surrogate.
        return isinstance(value, str) and search(value.encode("utf-8", "replace")) is not None

    return matches
