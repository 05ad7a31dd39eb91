"""The limit on messages per minute, channel and site: a counter in MongoDB that never exceeds it."""

from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from shared.mongodb import Document, translate_errors

MINUTE_MS = 60_000


class MongoSendRateLimiter:
    """The collection ``send_rates``: one row per site, channel and clock minute. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document]) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))

    def acquire(self, site: str, channel: str, limit: int, now: int) -> bool:
        """Count one message in the minute of *now* (ms); return ``False`` if *limit* is reached."""
        if limit <= 0:
            return False
        minute = now // MINUTE_MS
        below_limit = {"_id": _row_id(site, channel, now), "count": {"$lt": limit}}
        count = {"$inc": {"count": 1}}
        created = {"$setOnInsert": {"at": datetime.fromtimestamp(minute * 60, UTC)}}
        with translate_errors():
            try:
                self._rows.update_one(below_limit, {**count, **created}, upsert=True)
            except DuplicateKeyError:
                # The row exists: either it is full, or another Engager has just inserted it.
                return bool(self._rows.update_one(below_limit, count).modified_count)
        return True

    def release(self, site: str, channel: str, now: int) -> None:
        """Take back what was counted at *now* and then not sent, because another Engager had the activation."""
        with translate_errors():
            self._rows.update_one({"_id": _row_id(site, channel, now)}, {"$inc": {"count": -1}})


def next_minute(now: int) -> int:
    """Return the start (ms) of the minute after that of *now*."""
    return (now // MINUTE_MS + 1) * MINUTE_MS


def _row_id(site: str, channel: str, now: int) -> str:
    return f"{site}:{channel}:{now // MINUTE_MS}"
