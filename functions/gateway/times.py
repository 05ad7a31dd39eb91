"""Tell when an event happened by the server's clock, although clients' clocks are wrong."""

from collections.abc import Mapping
from typing import Any

from shared.clock import MAX_AHEAD_MS
from shared.times import parse_ms

MAX_AGE_MS = 3653 * 86_400_000  # ten years: an older event cannot be meant


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
