"""The condition language as people write it: validated, and turned into a small tree.

    {tier: vip, total: {gte: 100, lt: 500}, any_of: [{country: AT}, {country: {exists: false}}]}

A map attribute → value (short for ``eq``) or operators; everything in a map is AND-ed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from shared.conditions_operands import (
    OPERANDS,
    below,
    check_dates,
    check_possible,
    check_text,
    refuse,
)

MAX_DEPTH = 10
_INSTEAD = {
    "==": "eq", "=": "eq", "equals": "eq", "is": "eq", "!=": "ne", "<>": "ne", "not": "ne", "neq": "ne",
    "is_not": "ne", ">": "gt", "more_than": "gt", "greater_than": "gt", "after": "gt", ">=": "gte",
    "ge": "gte", "at_least": "gte", "min": "gte", "since": "gte", "<": "lt", "less_than": "lt",
    "before": "lt", "<=": "lte", "le": "lte", "at_most": "lte", "max": "lte", "one_of": "in", "any_of": "in",
    "none_of": "not_in", "nin": "not_in", "like": "contains", "includes": "contains", "has": "contains",
    "prefix": "starts_with", "suffix": "ends_with", "regex": "matches", "regexp": "matches",
    "range": "between", "is_set": "exists", "present": "exists", "missing": "exists: false",
    "absent": "exists: false", "null": "exists: false",
}  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """One comparison: ``path`` is the attribute, split at its dots."""

    path: tuple[str, ...]
    operator: str
    operand: Any


@dataclass(frozen=True)
class Group:
    """Parts of which all, any or none must hold; ``all`` of nothing is true."""

    mode: Literal["all", "any", "none"]
    parts: "tuple[Condition, ...]"


Condition = Comparison | Group


def parse(source: Mapping[str, Any], *, field: str = "where", dates: bool | None = None) -> Condition:
    """Validate *source* and return it as a condition.

    *field*: where it stands; the start of the ``field`` of every `InvalidDefinition`. *dates*: whether
    relative dates (``-30d``) mean anything here: they do in the rule of a target group, not in an event's
    ``where``. Said while definitions are checked, so that dates in the wrong place or form are refused; what
    passed once is read again without it.
    """
    return _parse(source, field, dates, 1)


def check_attribute(name: Any, *, field: str) -> tuple[str, ...]:
    """Return an attribute name split at its dots; raises `InvalidDefinition` if it is no name."""
    if not isinstance(name, str):
        refuse(f"attribute names are text: write '{name}' in quotes", field)
    path = tuple(name.split("."))
    if not all(path):
        refuse(f"{name!r} is no attribute name: write a name, or names joined by dots (cart.total)", field)
    if any(part.startswith("$") or "\0" in part for part in path):
        refuse(f"{name!r} is no attribute name: no part may start with '$'", field)
    check_text(name, field)
    return path


def _parse(source: Any, field: str, dates: bool | None, depth: int) -> Condition:
    if not isinstance(source, Mapping):
        refuse("a condition is a map of attributes, such as {outcome: win} or {amount: {gte: 100}}", field)
    if depth > MAX_DEPTH:
        refuse(f"conditions are nested more than {MAX_DEPTH} deep", field)
    parts: list[Condition] = []
    for name, wanted in source.items():
        here = below(field, name)
        if name in ("any_of", "all_of", "none_of"):
            parts.append(_group(name, wanted, here, dates, depth))
            continue
        path = check_attribute(name, field=here)
        if isinstance(wanted, Mapping):
            parts.extend(_tests(path, wanted, here, dates))
        elif isinstance(wanted, list | tuple):
            refuse(f"a list needs an operator: write {name}: {{in: [...]}} for any of these values", here)
        else:
            parts.append(Comparison(path, "eq", OPERANDS["eq"](wanted, here)))
            check_dates("eq", wanted, here, dates)
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


def _group(name: str, members: Any, field: str, dates: bool | None, depth: int) -> Group:
    if not isinstance(members, list | tuple) or not members:
        refuse(f"{name} needs a list of conditions: write {name}: [{{tier: vip}}, {{tier: gold}}]", field)
    parts = []
    for number, member in enumerate(members):
        here = f"{field}[{number}]"
        if isinstance(member, Mapping) and not member:
            refuse("an empty condition would always hold: remove it", here)
        parts.append(_parse(member, here, dates, depth + 1))
    modes: dict[str, Literal["all", "any", "none"]] = {"all_of": "all", "any_of": "any", "none_of": "none"}
    return Group(modes[name], tuple(parts))


def _tests(path: tuple[str, ...], wanted: Mapping[Any, Any], field: str, dates: bool | None) -> list[Condition]:
    attribute = ".".join(path)
    if not wanted:
        refuse(f"give a value or an operator: {attribute}: win, or {attribute}: {{gte: 100}}", field)
    tests: list[Condition] = []
    for operator, operand in wanted.items():
        here = below(field, operator)
        check = OPERANDS.get(operator)
        if check is None:
            _unknown_operator(attribute, str(operator), here)
        tests.append(Comparison(path, operator, check(operand, here)))
        check_dates(operator, operand, here, dates)
    check_possible(attribute, wanted, field)
    return tests


def _unknown_operator(attribute: str, operator: str, field: str) -> NoReturn:
    known = get_close_matches(operator, OPERANDS, n=1, cutoff=0.6)
    instead = _INSTEAD.get(operator.lower(), known[0] if known else None)
    if instead:
        refuse(f"unknown operator '{operator}': write '{instead}'", field)
    refuse(
        f"unknown operator '{operator}': write one of {', '.join(OPERANDS)}; "
        f"for an attribute inside an object, write {attribute}.{operator}",
        field,
    )
