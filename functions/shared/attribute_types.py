"""The types of customers' attributes, and parsers of text for imports and for the traits of `identify`."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Type = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[Type, ...] = get_args(Type)

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def parse_date(text: str) -> datetime | None:
    """Return the ISO-8601 time in *text*, in UTC unless it names a zone; ``None`` if it is not one."""
    if not _DATE.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # such as the 31st of February, which is text


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
PARSERS: Mapping[str, Callable[[str], Any]] = {"number": parse_number, "boolean": parse_boolean, "date": parse_date}
