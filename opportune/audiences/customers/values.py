"""Types of attribute values: infer the type of a value, and convert a value to a given type."""

from datetime import datetime
from typing import Any

from opportune.audiences.customers.lines import InvalidRecord
from shared.attribute_types import PARSERS, TYPES, Type, parse_boolean, parse_date, parse_number, read_date

__all__ = ["TYPES", "Single", "Type", "convert", "parse_date", "parse_scalar", "type_of"]


class Single(str):
    """The only value of an attribute that could also be a list. It converts to text or to a list of one."""

    __slots__ = ()


_NAMES: dict[Type, str] = {
    "text": "text",
    "number": "a number",
    "boolean": "a boolean",
    "date": "a date",
    "list": "a list",
    "object": "an object",
}
# For types that people may not know how to write.
_EXPECTED: dict[Type, str] = _NAMES | {
    "boolean": "true or false",
    "date": "a date such as 2026-11-25 or 2026-11-25T10:00:00Z",
    "list": 'a list such as ["a", "b"] (NDJSON only)',
    "object": 'an object such as {"a": 1} (NDJSON only)',
}
_BY_CLASS: dict[type, Type] = {
    str: "text",
    Single: "text",
    bool: "boolean",
    int: "number",
    float: "number",
    datetime: "date",
    list: "list",
    dict: "object",
}


def type_of(value: Any) -> Type:
    """Return the type of a value from JSON or from `parse_scalar`."""
    return _BY_CLASS[type(value)]


def parse_scalar(text: str) -> Any:
    """Return *text* as a number, a boolean, a date (ISO 8601, UTC by default) or, if it is none of these, as text.

    Digits that a number would lose stay text, such as ``007`` or a 20-digit id.
    """
    for parse in (parse_number, parse_boolean, parse_date):
        value = parse(text)
        if value is not None:
            return value
    return text


def convert(value: Any, wanted: Type) -> Any:
    """Return *value* as the type *wanted*. Text is parsed. Raise `InvalidRecord` if it has another type."""
    if isinstance(value, str):
        if wanted == "text":
            return str(value)
        if wanted == "list" and isinstance(value, Single):
            return [str(value)]
        parse = PARSERS.get(wanted)
        parsed = None if parse is None else parse(value.strip())
        if parsed is None:
            raise InvalidRecord(f"expected {_EXPECTED[wanted]}, got {_excerpt(value)}")
        return parsed
    if wanted == "date" and type_of(value) == "number" and (date := read_date(value)):
        return date
    if type_of(value) != wanted:
        raise InvalidRecord(f"expected {_NAMES[wanted]}, got {_NAMES[type_of(value)]}: {_excerpt(value)}")
    return value


def _excerpt(value: Any) -> str:
    """Return at most 40 characters of *value*. Reasons are printed, so they show no more than needed to find it."""
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "..."
