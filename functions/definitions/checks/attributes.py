"""Check conditions against the declared attributes that they read: names, types and possible values.

A condition is checked as it was written, so that every error has its field.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from definitions.model.event import Attribute, Event, noun
from definitions.model.field_errors import choices, join, suggestion
from shared.conditions.operands import RELATIVE_DATE
from shared.conditions.paths import EACH
from shared.context import NAMES, is_context

Known = Mapping[str, Attribute]
Errors = Iterator[tuple[str, str]]

# What every event may have.
CONTEXT: Known = {name: Attribute(type="text") for name in NAMES}

_GROUPS = ("any_of", "all_of", "none_of")
_ORDERED = frozenset({"gt", "gte", "lt", "lte", "between"})
_OF_TEXT = frozenset({"contains", "starts_with", "ends_with", "matches"})
_EQUAL = frozenset({"eq", "ne", "in", "not_in"})
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ].*)?")


class WrittenComparison(NamedTuple):
    """One comparison as it was written, and its field."""

    field: str
    attribute: str
    operator: str
    operand: Any


def comparisons(source: Mapping[str, Any], field: str = "") -> Iterator[WrittenComparison]:
    """Yield every comparison in a valid condition."""
    for name, wanted in source.items():
        here = join(field, name)
        if name in _GROUPS:
            for number, member in enumerate(wanted):
                yield from comparisons(member, f"{here}[{number}]")
        elif isinstance(wanted, Mapping):
            for operator, operand in wanted.items():
                yield WrittenComparison(join(here, operator), name, operator, operand)
        else:
            yield WrittenComparison(here, name, "eq", wanted)


def check_attributes(source: Mapping[str, Any], known: Known, owner: str, field: str = "") -> Errors:
    """Yield a field and a message for each comparison that can never hold for *owner*, which has *known* attributes."""
    for each in comparisons(source, field):
        message = attribute_error(each.attribute, known, owner) or _declared_error(each, known)
        if message is not None:
            yield each.field, message


def check_event_attributes(source: Mapping[str, Any], event: Event | None, field: str) -> Errors:
    """Yield a field and a message for each comparison that can never hold for *event*, or for the context of any."""
    for each in comparisons(source, field):
        message = None
        if is_context(each.attribute):
            message = context_error(each.attribute) or _declared_error(each, CONTEXT)
        elif event is not None and event.attributes is not None:
            known, owner = event.attributes, f"event '{event.name}'"
            message = attribute_error(each.attribute, known, owner) or _declared_error(each, known)
        if message is not None:
            yield each.field, message


def context_error(name: str) -> str | None:
    """Return what is wrong with the name of a part of the context, such as ``context.page.path``, or ``None``."""
    return None if name in CONTEXT else f"the context of an event has no attribute '{name}'{choices(name, CONTEXT)}"


def _declared_error(each: WrittenComparison, known: Known) -> str | None:
    attribute = known.get(each.attribute)
    return None if attribute is None else _operand_error(each, attribute)


def attribute_error(name: str, known: Known, owner: str) -> str | None:
    """Return what is wrong with an attribute's name, or ``None``. An object may have any parts."""
    if name in known:
        return None
    parts = name.split(".")
    for above in (".".join(parts[:length]) for length in range(len(parts), 0, -1)):
        if above in known:
            kind = known[above].type
            return None if kind == "object" else f"'{above}' of {owner} is {noun(kind)} and has no parts"
        whole = known.get(above.removesuffix(EACH))
        if above.endswith(EACH) and whole is not None:
            if whole.type != "list":
                return f"'{above.removesuffix(EACH)}' of {owner} is {noun(whole.type)} and has no elements"
            if above == name or not any(each.startswith(f"{above}.") for each in known):
                return None
            break
    if any(each.startswith(f"{name}.") for each in known):
        return None  # an object whose parts are declared
    return f"{owner} has no attribute '{name}'{choices(name, known)}"


def _operand_error(each: WrittenComparison, attribute: Attribute) -> str | None:
    kind, operator = attribute.type, each.operator
    if operator == "exists":
        return None
    about = f"'{each.attribute}' is {noun(kind)}"
    if kind == "object":
        return f"{about}: compare one of its parts, such as {each.attribute}.name, or use 'exists'"
    if kind == "list":
        return None if operator == "contains" else f"{about}: use the operator 'contains'"
    if operator in _OF_TEXT and kind != "text":
        return f"{about}, and '{operator}' is for text" + (" and lists" if operator == "contains" else "")
    if operator in _ORDERED and kind == "boolean":
        return f"{about} and has no order: write true or false"
    values = list(each.operand) if operator in ("in", "not_in", "between") else [each.operand]
    for value in values:
        message = _value_error(value, attribute, about)
        if message is None and operator in _EQUAL and attribute.one_of is not None and value not in attribute.one_of:
            message = _never(value, attribute, each.attribute)
        if message is not None:
            return message
    return None


def _value_error(value: Any, attribute: Attribute, about: str) -> str | None:
    kind = attribute.type
    if kind == "date":
        if isinstance(value, str) and (_ISO_DATE.fullmatch(value) or RELATIVE_DATE.fullmatch(value)):
            return None
        return f"{about}: compare it with a date, such as 2026-12-01"
    if kind == "boolean":
        return None if isinstance(value, bool) else f"{about}: compare it with true or false, without quotes"
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        hint = ", without quotes" if isinstance(value, str) and re.fullmatch(r"-?[0-9.]+", value) else ""
        return None if is_number else f"{about}: compare it with a number{hint}"
    if isinstance(value, str):
        return None
    return f"{about}: compare it with text, in quotes"


def _never(value: Any, attribute: Attribute, name: str) -> str:
    values = attribute.one_of or ()
    hint = suggestion(value, [each for each in values if isinstance(each, str)]) if isinstance(value, str) else ""
    return f"'{name}' is never {value!r}" + (hint or f": it is one of {', '.join(map(str, values))}")
