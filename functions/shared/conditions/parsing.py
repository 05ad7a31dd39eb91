"""Validate conditions as people write them, and parse them into a tree.

    {tier: vip, total: {gte: 100, lt: 500}, any_of: [{country: AT}, {country: {exists: false}}]}

A condition maps attributes to a value (short for ``eq``) or to operators. All entries of a map must hold.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from shared.conditions.operands import (
    OPERATORS,
    check_dates,
    check_satisfiable,
    check_text,
    join_path,
    refuse,
)
from shared.conditions.paths import EACH
from shared.conditions.tree import Comparison, Condition, Group, Mode

MAX_DEPTH = 10
_MONGODB_OPERATORS = frozenset(
    f"${name}"
    for name in ("where", "expr", "and", "or", "nor", "not", "in", "nin", "eq", "ne", "gt", "gte", "lt", "lte")
)
_SUGGESTIONS = {
    "==": "eq", "=": "eq", "equals": "eq", "is": "eq", "!=": "ne", "<>": "ne", "not": "ne", "neq": "ne",
    "is_not": "ne", ">": "gt", "more_than": "gt", "greater_than": "gt", "after": "gt", ">=": "gte",
    "ge": "gte", "at_least": "gte", "min": "gte", "since": "gte", "<": "lt", "less_than": "lt",
    "before": "lt", "<=": "lte", "le": "lte", "at_most": "lte", "max": "lte", "one_of": "in", "any_of": "in",
    "none_of": "not_in", "nin": "not_in", "like": "contains", "includes": "contains", "has": "contains",
    "prefix": "starts_with", "suffix": "ends_with", "regex": "matches", "regexp": "matches",
    "range": "between", "is_set": "exists", "present": "exists", "missing": "exists: false",
    "absent": "exists: false", "null": "exists: false",
}  # fmt: skip


def parse_condition(source: Mapping[str, Any], *, field: str = "where", dates: bool | None = None) -> Condition:
    """Validate *source* and return it as a tree; raise `InvalidDefinition`.

    field: the path of *source* in its definition; every error's ``field`` starts with it.
    dates: whether relative dates (``-30d``) are allowed: they are in the rule of a target group, but not in the
    ``where`` of an event. ``None`` skips this check, for conditions that have passed it before.
    """
    return _parse(source, field, dates, 1)


def check_attribute(name: Any, *, field: str, stored: bool = False) -> tuple[str, ...]:
    """Return an attribute name, split at its dots; raise `InvalidDefinition` if it is not valid.

    stored: whether it is of a customer. MongoDB has no names that begin with ``$``.
    """
    if not isinstance(name, str):
        refuse(f"attribute names are text: write '{name}' in quotes", field)
    path = tuple(name.split("."))
    if not all(path):
        refuse(f"{name!r} is not an attribute name: write a name, or names joined by dots (cart.total)", field)
    if any("\0" in part for part in path):
        refuse(f"{name!r} is not an attribute name: it contains U+0000", field)
    if stored and any(part.startswith("$") for part in path):
        refuse(f"{name!r} is not an attribute of a customer: no part may start with '$'", field)
    if name in _MONGODB_OPERATORS:
        refuse(f"{name!r} is not an attribute name: operators here do not start with '$'", field)
    if any(part == EACH or EACH in part.removesuffix(EACH) for part in path):
        refuse(f"{name!r} is not an attribute name: write [] once, after a name (products[].category)", field)
    if stored and EACH in name:
        refuse(f"{name!r} is not an attribute of a customer: [] is for lists of events", field)
    check_text(name, field)
    return path


def _parse(source: Any, field: str, dates: bool | None, depth: int) -> Condition:
    if not isinstance(source, Mapping):
        refuse("a condition is a map of attributes, such as {outcome: win} or {amount: {gte: 100}}", field)
    if depth > MAX_DEPTH:
        refuse(f"conditions are nested more than {MAX_DEPTH} deep", field)
    parts: list[Condition] = []
    for name, wanted in source.items():
        here = join_path(field, name)
        if name in ("any_of", "all_of", "none_of"):
            parts.append(_parse_group(name, wanted, here, dates, depth))
            continue
        path = check_attribute(name, field=here, stored=dates is True)
        if isinstance(wanted, Mapping):
            parts.extend(_parse_comparisons(path, wanted, here, dates))
        elif isinstance(wanted, list | tuple):
            refuse(f"a list needs an operator: write {name}: {{in: [...]}} for any of these values", here)
        else:
            parts.append(Comparison(path, "eq", OPERATORS["eq"].check(wanted, here)))
            check_dates("eq", wanted, here, dates)
    return parts[0] if len(parts) == 1 else Group("all", tuple(parts))


def _parse_group(name: str, members: Any, field: str, dates: bool | None, depth: int) -> Group:
    if not isinstance(members, list | tuple) or not members:
        refuse(f"{name} needs a list of conditions: write {name}: [{{tier: vip}}, {{tier: gold}}]", field)
    parts = []
    for number, member in enumerate(members):
        here = f"{field}[{number}]"
        if isinstance(member, Mapping) and not member:
            refuse("an empty condition would always hold: remove it", here)
        parts.append(_parse(member, here, dates, depth + 1))
    modes: dict[str, Mode] = {"all_of": "all", "any_of": "any", "none_of": "none"}
    return Group(modes[name], tuple(parts))


def _parse_comparisons(
    path: tuple[str, ...], wanted: Mapping[Any, Any], field: str, dates: bool | None
) -> list[Condition]:
    attribute = ".".join(path)
    if not wanted:
        refuse(f"give a value or an operator: {attribute}: win, or {attribute}: {{gte: 100}}", field)
    comparisons: list[Condition] = []
    for operator, operand in wanted.items():
        here = join_path(field, operator)
        found = OPERATORS.get(operator)
        if found is None:
            _refuse_operator(attribute, str(operator), here)
        comparisons.append(Comparison(path, operator, found.check(operand, here)))
        check_dates(operator, operand, here, dates)
    check_satisfiable(attribute, wanted, field)
    return comparisons


def _refuse_operator(attribute: str, operator: str, field: str) -> NoReturn:
    known = get_close_matches(operator, OPERATORS, n=1, cutoff=0.6)
    suggestion = _SUGGESTIONS.get(operator.lower(), known[0] if known else None)
    if suggestion:
        refuse(f"unknown operator '{operator}': write '{suggestion}'", field)
    refuse(
        f"unknown operator '{operator}': write one of {', '.join(OPERATORS)}; "
        f"for an attribute inside an object, write {attribute}.{operator}",
        field,
    )
