"""Find conditions that contradict themselves, so that no attributes can ever meet them.

Every contradiction that is found is certain, but not every one is found: ``none_of`` and absolute dates are assumed
to hold, and a condition with very many alternatives is not examined.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

from definitions.checks.attributes import Known, WrittenComparison, comparisons
from definitions.model.field_errors import join
from shared.conditions.operands import RELATIVE_DATE, SECONDS, kind_of
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate

MAX_ALTERNATIVES = 200
_LOWER, _UPPER = {"gt", "gte"}, {"lt", "lte"}
_ORDERED = _LOWER | _UPPER | {"between"}
_TEXT_ONLY = {"starts_with", "ends_with", "matches"}

# Comparisons that must hold together.
Alternative = list[WrittenComparison]


def contradiction(source: Mapping[str, Any], known: Known, field: str = "") -> tuple[str, str] | None:
    """Return the field of a contradiction in *source* and a message, or ``None``. *known*: the declared attributes."""
    alternatives = list(islice(_alternatives(source, field), MAX_ALTERNATIVES + 1))
    if len(alternatives) > MAX_ALTERNATIVES:
        return None
    found = [conflict for each in alternatives if (conflict := _conflict(each, known)) is not None]
    return found[0] if found and len(found) == len(alternatives) else None


def _alternatives(source: Mapping[str, Any], field: str) -> Iterator[Alternative]:
    """Yield the ways to meet a condition."""
    plain: dict[str, Any] = {}
    parts: list[list[Alternative]] = []
    for name, wanted in source.items():
        here = join(field, name)
        if name == "any_of":
            parts.append([each for number, part in enumerate(wanted) for each in _some(part, f"{here}[{number}]")])
        elif name == "all_of":
            parts += [_some(part, f"{here}[{number}]") for number, part in enumerate(wanted)]
        elif name != "none_of":
            plain[name] = wanted
    first = list(comparisons(plain, field))
    for chosen in product(*parts):
        yield [*first, *(each for alternative in chosen for each in alternative)]


def _some(source: Mapping[str, Any], field: str) -> list[Alternative]:
    return list(islice(_alternatives(source, field), MAX_ALTERNATIVES + 1))


def _conflict(alternative: Alternative, known: Known) -> tuple[str, str] | None:
    by_attribute: dict[str, Alternative] = {}
    for each in alternative:
        by_attribute.setdefault(each.attribute, []).append(each)
    for name, tests in by_attribute.items():
        attribute = known.get(name)
        values: Sequence[Any] | None = attribute.one_of if attribute else None
        if attribute is not None and attribute.type == "boolean":
            values = (True, False)
        for size in (1, 2, len(tests)):  # the smallest conflict makes the clearest message
            for some in combinations(tests, size):
                if not _may_hold(some, values):
                    described = " and ".join(_describe(each) for each in some)
                    return some[-1].field, f"this can never hold: '{name}' cannot be {described}"
    return None


def _describe(test: WrittenComparison) -> str:
    if test.operator == "exists":
        return "there" if test.operand else "missing"
    if test.operator == "eq":
        return repr(test.operand)
    operand = f"[{', '.join(map(str, test.operand))}]" if isinstance(test.operand, list | tuple) else str(test.operand)
    return f"{test.operator} {operand}"


def _may_hold(tests: Sequence[WrittenComparison], values: Sequence[Any] | None) -> bool:
    """Return whether one attribute may meet all *tests*. *values*: all possible values, if they are known."""
    if any(test.operator == "exists" and test.operand is False for test in tests):
        return all(test.operator == "exists" and test.operand is False for test in tests)
    ordered = [test for test in tests if test.operator in _ORDERED]
    relative = [test for test in ordered if all(_is_relative(value) for value in _operands(test))]
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
    numbers = [test for test in plain if test.operator in _ORDERED and kind_of(_operands(test)[0]) == "number"]
    return _overlap(numbers, lambda value: value)


def _operands(test: WrittenComparison) -> list[Any]:
    return list(test.operand) if isinstance(test.operand, list | tuple) else [test.operand]


def _is_relative(value: Any) -> bool:
    return isinstance(value, str) and RELATIVE_DATE.fullmatch(value) is not None


def _is_dated(value: Any) -> bool:
    return isinstance(value, str) and (_is_relative(value) or value[:4].isdigit())


def _kinds(test: WrittenComparison) -> frozenset[str] | None:
    """Return the kinds of values that may meet *test*; ``None`` stands for all."""
    if test.operator == "exists":
        return None
    if test.operator == "contains":
        return frozenset({"list", "string"} if isinstance(test.operand, str) else {"list"})
    if test.operator in _TEXT_ONLY:
        return frozenset({"string"})
    return frozenset(str(kind_of(value)) for value in _operands(test))


def _overlap(tests: Sequence[WrittenComparison], to_number: Callable[[Any], float]) -> bool:
    """Return whether any value lies within the bounds of all *tests*. *to_number*: turns an operand into a number."""
    lows: list[tuple[float, bool]] = []  # a bound, and whether it is excluded
    highs: list[tuple[float, bool]] = []
    for test in tests:
        values = [to_number(value) for value in _operands(test)]
        if test.operator in _LOWER or test.operator == "between":
            lows.append((values[0], test.operator == "gt"))
        if test.operator in _UPPER or test.operator == "between":
            highs.append((-values[-1], test.operator == "lt"))
    if not lows or not highs:
        return True
    (low, low_open), (high, high_open) = max(lows), max(highs)
    return low < -high or (low == -high and not low_open and not high_open)
