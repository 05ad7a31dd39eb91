"""The ceiling of sends per minute, channel and site: a counter in MongoDB that never passes it."""

from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from shared.mongodb import Document, translate_errors

MINUTE_MS = 60_000


class SendRateLimiter:
    """The collection ``ceilings``: one row per site, channel and minute of the clock. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document]) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))

    def take(self, site: str, channel: str, most: int, now: int) -> bool:
        """Take one of the *most* places in the minute of *now* (ms); return ``False`` where none is left."""
        if most <= 0:
            return False
        minute = now // MINUTE_MS
        place = {"_id": _name(site, channel, now), "count": {"$lt": most}}
        count = {"$inc": {"count": 1}}
        begun = {"$setOnInsert": {"at": datetime.fromtimestamp(minute * 60, UTC)}}
        with translate_errors():
            try:
                self._rows.update_one(place, {**count, **begun}, upsert=True)
            except DuplicateKeyError:
                # The row is there: full, or another one has just begun it.
                return bool(self._rows.update_one(place, count).modified_count)
        return True

    def give_back(self, site: str, channel: str, now: int) -> None:
        """Give back a place that was taken at *now* and not used: another one was faster with the same activation."""
        with translate_errors():
            self._rows.update_one({"_id": _name(site, channel, now)}, {"$inc": {"count": -1}})


def _name(site: str, channel: str, now: int) -> str:
    return f"{site}:{channel}:{now // MINUTE_MS}"


def next_minute(now: int) -> int:
    """Return when (ms) the minute after that of *now* begins."""
    return (now // MINUTE_MS + 1) * MINUTE_MS
