"""Daily figures per campaign: what the partitions have counted, added up in MongoDB, collection ``stats``."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import msgspec
from pymongo import UpdateOne
from pymongo.collection import Collection

from decider.rows import Rows
from shared.clock import Clock
from shared.errors import Unavailable
from shared.mongodb import Document, guarded

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVERY_MS = 60_000


class Stats:
    """Moves counters from Redis to MongoDB, once a minute at most; *tell* hears of what had to wait."""

    def __init__(self, rows: Rows, collection: Collection[Document], clock: Clock, tell: Callable[..., None]) -> None:
        self._rows = rows
        self._collection = collection
        self._clock = clock
        self._tell = tell
        self._last = 0

    def drain(self, partitions: Iterable[int]) -> None:
        """Move the counters of *partitions*; those that MongoDB does not take go back, for the next time."""
        now = self._clock()
        if now - self._last < EVERY_MS:
            return
        self._last = now
        drained: list[tuple[int, str, int]] = []
        try:
            for partition, counts in self._rows.drain(partitions):
                pairs = zip(counts[::2], counts[1::2], strict=True)
                drained += [(partition, name, number) for name, number in pairs]
            self._add(drained)
        except Unavailable as error:
            self._tell("daily figures not moved", extra={"code": error.code})
            for partition, name, number in drained:
                self._rows.count(partition, name, number)

    def _add(self, drained: Iterable[tuple[int, str, int]]) -> None:
        totals: dict[tuple[int, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for _, name, number in drained:
            day, site, campaign, what = msgspec.json.decode(name)
            totals[day, site, campaign][what] += number
        updates = []
        for (day, site, campaign), counts in totals.items():
            date = EPOCH + timedelta(days=day)
            key = {"_id": f"{site}:{campaign}:{date:%Y-%m-%d}"}
            fields = {"site": site, "campaign": campaign, "day": date}
            updates.append(UpdateOne(key, {"$inc": counts, "$setOnInsert": fields}, upsert=True))
        if updates:
            with guarded():
                self._collection.bulk_write(updates, ordered=False)
