"""Add the partitions' counters up to daily figures per campaign, in the collection ``stats``.

    partition ── drain: a batch with an id ──▶ one transaction: ids into ``stats_batches``, sums into ``stats``
        ▲                                           │
        └───────── confirm: delete the batch ◀──────┘

A batch stays in Redis until its transaction is known to be committed. If that is unknown, the batch is written again,
and its id shows whether it was written before. So each count arrives exactly once.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pymongo
from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from decider.user_state import Batch, UserStateStore
from shared.clock import Clock
from shared.errors import Unavailable
from shared.mongodb import Document, translate_errors

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
INTERVAL_MS = 60_000
PARTITIONS_AT_ONCE = 128
WRITE_S = 1.0
BATCH_ID_TTL_S = 7 * 24 * 3600  # longer than any batch waits to be written again


class Stats:
    """Moves counters from Redis to MongoDB, at most once a minute."""

    def __init__(
        self, states: UserStateStore, database: Database[Document], clock: Clock, log_warning: Callable[..., None]
    ) -> None:
        self._states = states
        self._database = database
        self._clock = clock
        self._log_warning = log_warning
        self._last = self._begin = 0
        self._is_indexed = False

    def drain(self, partitions: Sequence[int], has_time: Callable[[], bool] = lambda: True) -> None:
        """Move the counters of *partitions* while there is time (*has_time*). The next call continues from there.

        Counters that MongoDB does not accept wait in Redis.
        """
        now = self._clock()
        if 0 <= now - self._last < INTERVAL_MS:
            return
        self._last = now
        ordered = [*partitions[self._begin :], *partitions[: self._begin]]
        failure: Unavailable | None = None
        for first in range(0, len(ordered), PARTITIONS_AT_ONCE):
            if not has_time():
                self._begin = (self._begin + first) % len(ordered)
                break
            try:
                self._move(ordered[first : first + PARTITIONS_AT_ONCE])
            except Unavailable as error:
                failure = error
        if failure is not None:
            self._log_warning("daily figures not moved", extra={"code": failure.code})

    def _move(self, partitions: Sequence[int]) -> None:
        batches = list(self._states.drain(partitions, uuid.uuid4().hex))
        if batches:
            self._write(batches)
        for batch in batches:
            self._states.confirm_drained(batch)

    def _write(self, batches: Sequence[Batch]) -> None:
        names = {_name(batch): batch for batch in batches}
        seen = self._database.stats_batches
        with translate_errors(), pymongo.timeout(WRITE_S):
            if not self._is_indexed:
                seen.create_index("at", name="expiry", expireAfterSeconds=BATCH_ID_TTL_S)
                self._is_indexed = True
            # If two invocations write the same batch, MongoDB aborts one of them; its retry finds the batch written.
            with (
                self._database.client.start_session() as session,
                session.start_transaction(ReadConcern("snapshot"), WriteConcern("majority")),
            ):
                known = {row["_id"] for row in seen.find({"_id": {"$in": list(names)}}, session=session)}
                new = [batch for name, batch in names.items() if name not in known]
                if not new:
                    return
                at = datetime.fromtimestamp(self._clock() / 1000, UTC)
                seen.insert_many([{"_id": _name(batch), "at": at} for batch in new], session=session)
                self._database.stats.bulk_write(_sums(new), ordered=False, session=session)


def _name(batch: Batch) -> str:
    return f"{batch.id}:{batch.partition}"


def _sums(batches: Iterable[Batch]) -> list[UpdateOne]:
    totals: dict[tuple[int, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for batch in batches:
        for name, number in batch.counts.items():
            day, site, campaign, what = msgspec.json.decode(name)
            totals[day, site, campaign][what] += number
    updates = []
    for (day, site, campaign), counts in totals.items():
        date = EPOCH + timedelta(days=day)
        key = {"_id": f"{site}:{campaign}:{date:%Y-%m-%d}"}
        fields = {"site": site, "campaign": campaign, "day": date}
        updates.append(UpdateOne(key, {"$inc": counts, "$setOnInsert": fields}, upsert=True))
    return updates
