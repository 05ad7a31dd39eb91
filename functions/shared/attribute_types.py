"""The types of customers' attributes, and parsers of text for imports and for the traits of `identify`."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, get_args

from shared.times import FIRST_S, parse_iso_ms, parse_ms, to_datetime

Type = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[Type, ...] = get_args(Type)

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ]\d.*)?", re.ASCII | re.IGNORECASE)
_BOOLEANS = {"true": True, "false": False}


def parse_date(text: str) -> datetime | None:
    """Return the ISO-8601 time in *text*, in UTC unless it names a zone; ``None`` if it is not one.

    The 31st of February is not one, and neither are digits that only an attribute's type makes a date: ``20191001``.
    """
    at = parse_iso_ms(text) if _DATE.fullmatch(text) else None
    return None if at is None else to_datetime(at)


def read_date(value: str | float) -> datetime | None:
    """Return the time of a *value* that is known to be a date: ISO-8601 text, or a number of s, ms, µs or ns.

    Smaller numbers are hardly times: ``7`` is ``None``.
    """
    at = parse_ms(value)
    return None if at is None or (abs(at) < FIRST_S and parse_iso_ms(value) is None) else to_datetime(at)


def parse_number(text: str) -> int | float | None:
    """Return the number in *text*; ``None`` if it is not one, or if digits would be lost (``007``, a 20-digit id)."""
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        whole = int(text)
        return whole if -(2**63) <= whole < 2**63 else None
    value = float(text)
    return value if abs(value) != float("inf") else None


def parse_boolean(text: str) -> bool | None:
    """Return the boolean in *text*; ``None`` if it is neither true nor false."""
    return _BOOLEANS.get(text.lower())


# The parser of text for each type that is not text.
PARSERS: Mapping[str, Callable[[str], Any]] = {"number": parse_number, "boolean": parse_boolean, "date": read_date}
