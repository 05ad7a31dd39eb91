"""Parse times as clients write them, and correct for clients' wrong clocks."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in ms
MAX_MS_DIGITS = 15
# Formats that `datetime.fromisoformat` refuses but clients send, such as 2015-2-02T00:30:08.276Z.
_LOOSE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))? ?(?:Z|([+-])(\d{2}):?(\d{2}))?",
    re.ASCII | re.IGNORECASE,
)
_MAX_ISO_LENGTH = 40


def parse_ms(stamp: Any) -> int | None:
    """Return the ms of an ISO-8601 time or of a number of ms; ``None`` for anything else."""
    if isinstance(stamp, str) and stamp.isdecimal() and len(stamp) <= MAX_MS_DIGITS:
        stamp = int(stamp)
    if isinstance(stamp, int) and not isinstance(stamp, bool):
        return stamp if EARLIEST <= stamp <= LATEST else None
    return parse_iso_ms(stamp)


def parse_iso_ms(value: Any) -> int | None:
    """Return the ms of an ISO-8601 time, in UTC unless it names a zone; ``None`` for anything else."""
    if not isinstance(value, str):
        return None
    try:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = _parse_loose(value)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        ms = round(parsed.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return ms if EARLIEST <= ms <= LATEST else None


def correct_clock(original: int | None, sent: int | None, received: int) -> int:
    """Return when an event happened by the server's clock: ``received - (sent - original)``, never in the future."""
    if original is None:
        return received
    if sent is None:
        return min(original, received)
    return max(EARLIEST, received - max(0, sent - original))


def _parse_loose(value: str) -> datetime:
    """Return the time in *value*, which may lack leading zeros; raise `ValueError`."""
    parts = _LOOSE.fullmatch(value) if len(value) <= _MAX_ISO_LENGTH else None
    if parts is None:
        raise ValueError("not an ISO-8601 time")
    *fields, fraction, sign, hours, minutes = parts.groups()
    year, month, day, hour, minute, second = map(int, fields)
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    offset = timedelta(hours=int(hours), minutes=int(minutes)) if sign else timedelta()
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC) - (-offset if sign == "-" else offset)
