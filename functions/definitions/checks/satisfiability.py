"""Conditions that contradict themselves: no attributes whatever can meet them.

Pure, and careful: what is found cannot hold, but not all that cannot hold is found. ``none_of`` is taken to hold,
as are dates that are not relative; and where a condition has more ways to be met than can be looked at, one of them
may do.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

from definitions.checks.attributes import Compared, Known, comparisons
from definitions.model.field_errors import join
from shared.conditions.operands import RELATIVE_DATE, SECONDS, kind_of
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate

MOST_WAYS = 200
_LOW, _HIGH = {"gt", "gte"}, {"lt", "lte"}
_ORDERS = _LOW | _HIGH | {"between"}
_KINDS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("starts_with", "ends_with", "matches"), frozenset({"string"})),
}

Way = list[Compared]


def contradiction(source: Mapping[str, Any], known: Known, field: str = "") -> tuple[str, str] | None:
    """Return field and message of why *source* can never hold, ``None`` where it may."""
    ways = list(islice(_ways(source, field), MOST_WAYS + 1))
    if len(ways) > MOST_WAYS:
        return None
    found = [clash for way in ways if (clash := _clash(way, known)) is not None]
    return found[0] if found and len(found) == len(ways) else None


def _ways(source: Mapping[str, Any], field: str) -> Iterator[Way]:
    """Yield the ways to meet a condition, each the comparisons that then hold together."""
    plain: dict[str, Any] = {}
    parts: list[list[Way]] = []
    for name, wanted in source.items():
        members = (
            [(member, f"{join(field, name)}[{number}]") for number, member in enumerate(wanted)]
            if (name in ("any_of", "all_of", "none_of"))
            else []
        )
        if name == "any_of":
            parts.append([way for member, here in members for way in islice(_ways(member, here), MOST_WAYS + 1)])
        elif name == "all_of":
            parts += [list(islice(_ways(member, here), MOST_WAYS + 1)) for member, here in members]
        elif name != "none_of":
            plain[name] = wanted
    first = list(comparisons(plain, field))
    for chosen in product(*parts):
        yield [*first, *(each for way in chosen for each in way)]


def _clash(way: Way, known: Known) -> tuple[str, str] | None:
    by_attribute: dict[str, Way] = {}
    for each in way:
        by_attribute.setdefault(each.attribute, []).append(each)
    for name, tests in by_attribute.items():
        attribute = known.get(name)
        values: Sequence[Any] | None = attribute.one_of if attribute else None
        if attribute is not None and attribute.type == "boolean":
            values = (True, False)
        for size in (1, 2, len(tests)):
            for some in combinations(tests, size):
                if not _may_hold(some, values):
                    said = " and ".join(_said(each) for each in some)
                    return some[-1].field, f"this can never hold: '{name}' cannot be {said}"
    return None


def _said(test: Compared) -> str:
    if test.operator == "exists":
        return "there" if test.operand else "missing"
    return repr(test.operand) if test.operator == "eq" else f"{test.operator} {_shown(test.operand)}"


def _shown(operand: Any) -> str:
    return f"[{', '.join(map(str, operand))}]" if isinstance(operand, list | tuple) else str(operand)


def _may_hold(tests: Sequence[Compared], values: Sequence[Any] | None) -> bool:
    """Return whether one attribute may meet all *tests*. *values*: all that it can be, where that is known."""
    if any(test.operator == "exists" and test.operand is False for test in tests):
        return all(test.operator == "exists" and test.operand is False for test in tests)
    orders = [test for test in tests if test.operator in _ORDERS]
    relative = [test for test in orders if all(_is_relative(value) for value in _operands(test))]
    if not _overlap(relative, lambda value: -int(value[1:-1]) * SECONDS[value[-1]]):
        return False
    plain = [test for test in tests if not any(_is_dated(value) for value in _operands(test))]
    chosen = next((_operands(test) for test in plain if test.operator in ("eq", "in")), values)
    if chosen is not None:
        checks = [compile_predicate(parse_condition({"it": {test.operator: test.operand}})) for test in plain]
        return any(all(check({"it": value}) for check in checks) for value in chosen)
    kinds = [found for test in plain if (found := _kinds(test)) is not None]
    if kinds and not frozenset.intersection(*kinds):
        return False
    numbers = [test for test in plain if test.operator in _ORDERS and kind_of(_operands(test)[0]) == "number"]
    return _overlap(numbers, lambda value: value)


def _operands(test: Compared) -> list[Any]:
    return list(test.operand) if isinstance(test.operand, list | tuple) else [test.operand]


def _is_relative(value: Any) -> bool:
    return isinstance(value, str) and RELATIVE_DATE.fullmatch(value) is not None


def _is_dated(value: Any) -> bool:
    return isinstance(value, str) and (_is_relative(value) or value[:4].isdigit())


def _kinds(test: Compared) -> frozenset[str] | None:
    """Return the kinds of values that may meet *test*, ``None`` for all."""
    if test.operator == "exists":
        return None
    if test.operator == "contains":
        return frozenset({"list", "string"} if isinstance(test.operand, str) else {"list"})
    return _KINDS.get(test.operator) or frozenset(str(kind_of(value)) for value in _operands(test))


def _overlap(tests: Sequence[Compared], number: Any) -> bool:
    """Return whether bounds leave anything in between; *number* turns an operand into one."""
    lows: list[tuple[float, bool]] = []  # a bound, and whether it is excluded
    highs: list[tuple[float, bool]] = []
    for test in tests:
        values = [number(value) for value in _operands(test)]
        if test.operator in _LOW or test.operator == "between":
            lows.append((values[0], test.operator == "gt"))
        if test.operator in _HIGH or test.operator == "between":
            highs.append((-values[-1], test.operator == "lt"))
    if not lows or not highs:
        return True
    (low, low_open), (high, high_open) = max(lows), max(highs)
    return low < -high or (low == -high and not low_open and not high_open)
