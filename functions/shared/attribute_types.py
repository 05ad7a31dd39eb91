"""Types of customers' attributes, and what a text reads like: for imports, and for what `identify` says."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Type = Literal["text", "number", "boolean", "date", "list", "object"]
TYPES: tuple[Type, ...] = get_args(Type)

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


def date(text: str) -> datetime | None:
    """Return the instant that *text* says in ISO 8601 (naive: UTC), ``None`` where it says none."""
    if not _DATE.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # the 31st of February is text


def number(text: str) -> int | float | None:
    """Return the number that *text* says. Digits that one would lose, as in ``007`` or a 20-digit id, say none."""
    if not _NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        whole = int(text)
        return whole if -(2**63) <= whole < 2**63 else None
    value = float(text)
    return value if abs(value) != float("inf") else None


def boolean(text: str) -> bool | None:
    """Return the truth value that *text* says."""
    return _BOOLEANS.get(text.lower())


# What text becomes where an attribute has another type.
PARSERS: Mapping[str, Callable[[str], Any]] = {"number": number, "boolean": boolean, "date": date}
