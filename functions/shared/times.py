"""Parse times as clients and files write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in ms
# A number from here on is in s, ms, µs or ns; each unit begins where the one before it would be beyond the year 4000.
FIRST_S, FIRST_MS, FIRST_US, FIRST_NS, FIRST_TOO_LARGE = 10**9, 10**11, 10**14, 10**17, 10**20
DATE_DIGITS = 8  # 20191001
# Formats that `datetime.fromisoformat` refuses but clients send, such as 2015-2-02T00:30:08.276Z.
_LOOSE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ](\d{1,2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?"
    # The name of a zone is read only behind its offset, because several zones have the same name.
    r" ?(?:(?:UTC|GMT)?([+-])(\d{2}):?(\d{2})?(?: (?:[A-Z]{2,5}|\([\w ]{1,40}\)))?|Z|UTC|GMT)?",
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,9})?(?:[eE]\+?\d{1,2})?", re.ASCII)
_MAX_ISO_LENGTH = 80
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def parse_ms(stamp: Any) -> int | None:
    """Return the ms of an ISO-8601 time, or of a number of s, ms, µs or ns; ``None`` for anything else.

    The size of a number tells its unit. A number below 10**9 is in ms.
    """
    if stamp is None:
        return None
    if isinstance(stamp, str):
        stamp = stamp.strip()
        is_number = stamp[4:5] != "-" and _NUMBER.fullmatch(stamp)
        if not is_number or (len(stamp) == DATE_DIGITS and parse_iso_ms(stamp) is not None):
            return parse_iso_ms(stamp)
        stamp = int(stamp) if stamp.lstrip("-").isdecimal() else float(stamp)
    if isinstance(stamp, float) and FIRST_S <= abs(stamp) < FIRST_TOO_LARGE:
        return _to_ms(stamp)
    if isinstance(stamp, int) and not isinstance(stamp, bool) and abs(stamp) < FIRST_TOO_LARGE:
        return _to_ms(stamp)
    return None


def to_datetime(ms: int) -> datetime:
    """Return the time *ms*, which `parse_ms` has returned, in UTC."""
    return _EPOCH + ms * _MILLISECOND


def _to_ms(number: float) -> int | None:
    size = abs(number)
    if size >= FIRST_NS:
        ms = number // 10**6
    elif size >= FIRST_US:
        ms = number // 1000
    elif FIRST_S <= size < FIRST_MS:
        ms = round(number * 1000)
    else:
        ms = number
    return int(ms) if EARLIEST <= ms <= LATEST else None


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
        ms = round((parsed - _EPOCH) / _MILLISECOND)
    except (ValueError, OverflowError):
        return None
    return ms if EARLIEST <= ms <= LATEST else None


def _parse_loose(value: str) -> datetime:
    """Return the time in *value*, which may lack leading zeros; raise `ValueError`."""
    parts = _LOOSE.fullmatch(value) if len(value) <= _MAX_ISO_LENGTH else None
    if parts is None:
        raise ValueError("not an ISO-8601 time")
    *fields, fraction, sign, hours, minutes = parts.groups()
    year, month, day, hour, minute, second = map(int, fields)
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    offset = timedelta(hours=int(hours), minutes=int(minutes or 0)) if sign else timedelta()
    return datetime(year, month, day, hour, minute, second, micros, tzinfo=UTC) - (-offset if sign == "-" else offset)
