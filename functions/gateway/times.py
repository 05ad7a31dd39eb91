"""Times as clients write them, and the correction of their clocks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in ms
LONGEST_MS = 15
# What `datetime.fromisoformat` refuses, and clients send all the same: 2015-2-02T00:30:08.276Z.
_LOOSE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))? ?(?:Z|([+-])(\d{2}):?(\d{2}))?",
    re.ASCII | re.IGNORECASE,
)
_LONGEST_ISO = 40


def to_ms(stamp: Any) -> int | None:
    """Return ms of an ISO-8601 time or of a number of ms; ``None`` where it is neither."""
    if isinstance(stamp, str) and stamp.isdecimal() and len(stamp) <= LONGEST_MS:
        stamp = int(stamp)
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        return stamp if EARLIEST <= stamp <= LATEST else None
    return iso_ms(stamp)


def iso_ms(value: Any) -> int | None:
    """Return ms of an ISO-8601 time, UTC where it names no zone; ``None`` where it cannot be read."""
    if not isinstance(value, str):
        return None
    try:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = _loose(value)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        ms = round(parsed.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return ms if EARLIEST <= ms <= LATEST else None


def corrected(original: int | None, sent: int | None, received: int) -> int:
    """Return when an event happened by our clock: ``received - (sent - original)``, never in the future."""
    if original is None:
        return received
    if sent is None:
        return min(original, received)
    return max(EARLIEST, received - max(0, sent - original))


def _loose(value: str) -> datetime:
    """Return the time in *value*, which may lack leading zeros; raises `ValueError`."""
    parts = _LOOSE.fullmatch(value) if len(value) <= _LONGEST_ISO else None
    if parts is None:
        raise ValueError("no ISO-8601 time")
    *fields, fraction, sign, hours, minutes = parts.groups()
    year, month, day, hour, minute, second = map(int, fields)
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    ahead = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC) - (-ahead if sign == "-" else ahead)
