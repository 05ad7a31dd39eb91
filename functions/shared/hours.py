"""Opening hours in a time zone."""

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from shared.ruleset import Schedule


def is_open(schedule: Schedule, now: int, zone: str) -> bool:
    """Return whether *schedule* is open at *now* (ms) in *zone*, an IANA name."""
    if schedule.begin is not None and now < schedule.begin:
        return False
    if schedule.end is not None and now >= schedule.end:
        return False
    local = datetime.fromtimestamp(now / 1000, time_zone(zone))
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if schedule.start < schedule.stop:
        in_hours = schedule.start <= minute < schedule.stop
    else:  # across midnight: the early morning belongs to the previous day
        in_hours = minute >= schedule.start or minute < schedule.stop
        if minute < schedule.stop:
            day = (day - 1) % 7
    return in_hours and (not schedule.days or day in schedule.days)


@lru_cache(maxsize=64)
def time_zone(name: str) -> ZoneInfo:
    """Return the zone *name*; raise `zoneinfo.ZoneInfoNotFoundError` or `ValueError` if there is none."""
    return ZoneInfo(name)
