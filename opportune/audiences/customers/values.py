"""The types of attributes: what a value reads like, and a value as one of a given type."""

from datetime import datetime
from typing import Any

from opportune.audiences.customers.lines import Broken
from shared.attribute_types import PARSERS, TYPES, Type, parse_boolean, parse_date, parse_number

__all__ = ["TYPES", "Single", "Type", "convert", "parse_date", "read", "type_of"]


class Single(str):
    """Text where a list of texts could stand as well, but none does in the whole file: a list of one, or its text."""

    __slots__ = ()


# How people write one, where they may not know.
_WRITTEN: dict[Type, str] = {
    "boolean": ": write true or false",
    "date": ": write it as 2026-11-25 or 2026-11-25T10:00:00Z",
    "list": ': a CSV has none, NDJSON has ["a", "b"]',
    "object": ': a CSV has none, NDJSON has {"a": 1}',
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
    """Return the type of a value that JSON or `read` gave."""
    return _BY_CLASS[type(value)]


def read(text: str) -> Any:
    """Return text as what it reads like: number, true or false, ISO-8601 date (naive: UTC), or text.

    Digits that a number would lose, as in ``007`` or a 20-digit id, stay text.
    """
    for parse in (parse_number, parse_boolean, parse_date):
        value = parse(text)
        if value is not None:
            return value
    return text


def convert(value: Any, wanted: Type) -> Any:
    """Return *value* as *wanted*: text may stand for any scalar; raises `Broken` where it does not."""
    if isinstance(value, str):
        if wanted == "text":
            return str(value)
        if wanted == "list" and isinstance(value, Single):
            return [str(value)]
        parse = PARSERS.get(wanted)
        parsed = None if parse is None else parse(value.strip())
        if parsed is None:
            raise Broken(f"{_shown(value)} is not {_a(wanted)}{_WRITTEN.get(wanted, '')}")
        return parsed
    if type_of(value) != wanted:
        raise Broken(f"{_shown(value)} is {_a(type_of(value))}, not {_a(wanted)}")
    return value


def _shown(value: Any) -> str:
    """Return enough of a value to find it, and no more: reasons are printed."""
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "..."


def _a(name: str) -> str:
    return name if name == "text" else f"an {name}" if name == "object" else f"a {name}"
