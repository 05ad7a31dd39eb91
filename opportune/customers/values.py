"""The types of attributes: what a value reads like, and a value as one of a given type."""

import re
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from opportune.customers.lines import Broken

Type = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[Type, ...] = get_args(Type)


class Single(str):
    """Text where a list of texts could stand as well, but none does in the whole file: a list of one, or its text."""

    __slots__ = ()


_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
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
    for parse in (_number, _boolean, date):
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
        parse = _PARSERS.get(wanted)
        parsed = None if parse is None else parse(value.strip())
        if parsed is None:
            raise Broken(f"{_shown(value)} is not {_a(wanted)}")
        return parsed
    if type_of(value) != wanted:
        raise Broken(f"{_shown(value)} is {_a(type_of(value))}, not {_a(wanted)}")
    return value


def date(text: str) -> datetime | None:
    """Return the instant that *text* says in ISO 8601 (naive: UTC), ``None`` where it says none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # the 31st of February is text


def _number(text: str) -> int | float | None:
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        whole = int(text)
        return whole if -(2**63) <= whole < 2**63 else None
    number = float(text)
    return number if abs(number) != float("inf") else None


def _boolean(text: str) -> bool | None:
    return _BOOLEANS.get(text.lower())


_PARSERS = {"number": _number, "boolean": _boolean, "date": date}


def _shown(value: Any) -> str:
    """Return enough of a value to find it, and no more: reasons are printed."""
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 40 else text[:37] + "..."


def _a(name: str) -> str:
    return name if name == "text" else f"an {name}" if name == "object" else f"a {name}"
