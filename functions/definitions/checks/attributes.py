"""Conditions against what is known of the attributes they read: names, types, possible values.

Pure. A condition is walked as it was written, so that every problem has the field it stands in.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from definitions.model.event import Attribute
from definitions.model.field_errors import join, suggestion
from shared.conditions.operands import RELATIVE_DATE

Known = Mapping[str, Attribute]
Found = Iterator[tuple[str, str]]

_GROUPS = ("any_of", "all_of", "none_of")
_ORDERED = frozenset({"gt", "gte", "lt", "lte", "between"})
_OF_TEXT = frozenset({"contains", "starts_with", "ends_with", "matches"})
_EQUAL = frozenset({"eq", "ne", "in", "not_in"})
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")


class Compared(NamedTuple):
    """One comparison as it was written: where, what, with which operator, with what."""

    field: str
    attribute: str
    operator: str
    operand: Any


def comparisons(source: Mapping[str, Any], field: str = "") -> Iterator[Compared]:
    """Yield every comparison in a condition that is well-formed."""
    for name, wanted in source.items():
        here = join(field, name)
        if name in _GROUPS:
            for number, member in enumerate(wanted):
                yield from comparisons(member, f"{here}[{number}]")
        elif isinstance(wanted, Mapping):
            for operator, operand in wanted.items():
                yield Compared(join(here, operator), name, operator, operand)
        else:
            yield Compared(here, name, "eq", wanted)


def check_condition(source: Mapping[str, Any], known: Known, owner: str, field: str = "") -> Found:
    """Yield field and message of each comparison that can never hold of *owner*, which has *known* attributes."""
    for each in comparisons(source, field):
        message = about_name(each.attribute, known, owner)
        attribute = known.get(each.attribute)
        if message is None and attribute is not None:
            message = _about(each, attribute)
        if message is not None:
            yield each.field, message


def about_name(name: str, known: Known, owner: str) -> str | None:
    """Return what is wrong with an attribute's name, ``None`` for nothing. Objects may have any parts."""
    if name in known:
        return None
    for length in range(name.count("."), 0, -1):
        above = ".".join(name.split(".")[:length])
        if above in known:
            kind = known[above].type
            return None if kind == "object" else f"'{above}' of {owner} is a {kind}, and has no parts"
    if any(each.startswith(f"{name}.") for each in known):
        return None  # the object that is known by its parts
    hint = suggestion(name, known) or f"; known: {', '.join(sorted(known)) or 'none'}"
    return f"{owner} has no attribute '{name}'{hint}"


def _about(each: Compared, attribute: Attribute) -> str | None:
    kind, operator = attribute.type, each.operator
    if operator == "exists":
        return None
    article = (
        f"'{each.attribute}' is {'an' if kind == 'object' else 'a'} {kind}"
        if kind != "text"
        else (f"'{each.attribute}' is text")
    )
    if kind == "object":
        return f"{article}: compare its parts, as in {each.attribute}.name, or ask whether it exists"
    if kind == "list":
        return None if operator == "contains" else f"{article}: the operator for lists is 'contains'"
    if operator in _OF_TEXT and kind != "text":
        return f"{article}: '{operator}' is for text" + (" and lists" if operator == "contains" else "")
    if operator in _ORDERED and kind == "boolean":
        return f"{article}, and has no order: write true or false"
    values = list(each.operand) if operator in ("in", "not_in", "between") else [each.operand]
    for value in values:
        message = _about_value(value, attribute, article)
        if message is None and operator in _EQUAL and attribute.one_of is not None and value not in attribute.one_of:
            message = _never(value, attribute, each.attribute)
        if message is not None:
            return message
    return None


def _about_value(value: Any, attribute: Attribute, article: str) -> str | None:
    kind = attribute.type
    if kind == "date":
        if isinstance(value, str) and (_ISO_DATE.fullmatch(value) or RELATIVE_DATE.fullmatch(value)):
            return None
        return f"{article}: compare it with one, such as 2026-12-01"
    if kind == "boolean":
        return None if isinstance(value, bool) else f"{article}: compare it with true or false, without quotes"
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        hint = ", without quotes" if isinstance(value, str) and re.fullmatch(r"-?[0-9.]+", value) else ""
        return None if is_number else f"{article}: compare it with a number{hint}"
    if isinstance(value, str):
        return None
    return f"{article}: compare it with text, in quotes"


def _never(value: Any, attribute: Attribute, name: str) -> str:
    values = attribute.one_of or ()
    hint = suggestion(value, [each for each in values if isinstance(each, str)]) if isinstance(value, str) else ""
    return f"'{name}' is never {value!r}" + (hint or f": it is one of {', '.join(map(str, values))}")
