"""Opt-outs: the channels on which a user wants no more messages. One row per user, for all campaigns."""

from collections.abc import Collection as Several
from collections.abc import Mapping
from datetime import UTC, datetime

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from shared.clock import Clock, now_ms
from shared.mongodb import Document, translate_errors


class OptOuts:
    """The collection ``optouts``: ``_id`` is ``site:user``; ``channels`` has the time and the reason by channel.

    Every method raises `Unavailable`. A user whose opt-outs cannot be read gets no message.
    """

    def __init__(self, rows: Collection[Document], clock: Clock = now_ms) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def add(self, site: str, user: str, channel: str, reason: str) -> bool:
        """Opt *user* out of *channel*; return whether that is new. The first reason remains."""
        row, place = {"_id": f"{site}:{user}"}, f"channels.{channel}"
        at = datetime.fromtimestamp(self._clock() / 1000, UTC)
        with translate_errors():
            # Two steps: one upsert that also matches the channel fails if two channels are added at the same time.
            self._rows.update_one(row, {"$setOnInsert": {"site": site, "user": user}}, upsert=True)
            added = self._rows.update_one(
                {**row, place: {"$exists": False}}, {"$set": {place: {"at": at, "reason": reason}}}
            )
        return bool(added.modified_count)

    def add_all(self, site: str, channels: Mapping[str, Several[str]], reason: str) -> int:
        """Opt users out of *channels*, by user; return how many users changed. First reasons remain."""
        at = datetime.fromtimestamp(self._clock() / 1000, UTC)
        updates = []
        for user, names in channels.items():
            new = {"$literal": {"at": at, "reason": reason}}
            row: Document = {f"channels.{channel}": {"$ifNull": [f"$channels.{channel}", new]} for channel in names}
            row |= {"site": {"$literal": site}, "user": {"$literal": user}}
            updates.append(UpdateOne({"_id": f"{site}:{user}"}, [{"$set": row}], upsert=True))
        if not updates:
            return 0
        with translate_errors():
            written = self._rows.bulk_write(updates, ordered=False)
        return written.modified_count + written.upserted_count
