"""Parse times as clients write them, and correct for clients' wrong clocks."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.clock import MAX_AHEAD_MS

EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in ms
# A number from here on is in s, ms, µs or ns; each unit begins where the one before it would be beyond the year 4000.
FIRST_S, FIRST_MS, FIRST_US, FIRST_NS, FIRST_TOO_LARGE = 10**9, 10**11, 10**14, 10**17, 10**20
DATE_DIGITS = 8  # 20191001
MAX_AGE_MS = 3653 * 86_400_000  # ten years: an older event cannot be meant
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


def find_time(item: Mapping[str, Any], sent: Any, received: int) -> tuple[int, str]:
    """Return when *item* happened by the server's clock, and its field that cannot be meant; empty if there is none.

    sent: the ``sentAt`` of the batch, for an item without its own. ``originalTimestamp`` wins over ``timestamp``.

    An item with ``receivedAt`` is forwarded. Its first receiver has corrected ``timestamp`` already, and its
    ``sentAt`` counts by that receiver's clock.
    """
    original, stamp = parse_ms(item.get("originalTimestamp")), parse_ms(item.get("timestamp"))
    first, sent_at = parse_ms(item.get("receivedAt")), parse_ms(item.get("sentAt") or sent)
    named = "originalTimestamp" if item.get("originalTimestamp") else "timestamp" if item.get("timestamp") else ""
    if first is not None and can_be_meant(first, received):
        seen = stamp if stamp is not None else _correct(original, sent_at, first)
        default = received if named else min(first, received)
    else:
        seen, default = _correct(original if original is not None else stamp, sent_at, received), received
    if seen is None or not can_be_meant(seen, received):
        return default, named
    return min(seen, received), ""


def find_recorded_time(item: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return when *item* happened by its own account, ``None`` if it does not say so, and the field that says it.

    ``originalTimestamp`` wins over ``timestamp``. If the item has ``receivedAt``, a first receiver has corrected
    ``timestamp``, which wins then.
    """
    first, stamp = parse_ms(item.get("receivedAt")), parse_ms(item.get("timestamp"))
    if first is not None and stamp is not None:
        return stamp, "timestamp"
    original = parse_ms(item.get("originalTimestamp") or None)
    if original is None:
        return stamp, "timestamp" if item.get("timestamp") or not item.get("originalTimestamp") else "originalTimestamp"
    return _correct(original, first and parse_ms(item.get("sentAt")), first or 0), "originalTimestamp"


def _correct(original: int | None, sent: int | None, received: int) -> int | None:
    """Return *original* by the clock that says *received*; ``None`` stays ``None``."""
    return original if original is None or sent is None else received - (sent - original)


def can_be_meant(at: int, received: int) -> bool:
    """Return whether an event that is received now can have happened *at*: not long ago, and not in the future."""
    return received - MAX_AGE_MS <= at <= received + MAX_AHEAD_MS


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
