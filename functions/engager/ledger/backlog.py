"""What the ledger still has to do: rows that are held and due, and rows whose sender has died."""

from collections.abc import Generator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import NO_LONGER_HELD, interrupted, moment, stale
from engager.ledger.states import Held, State
from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors

OLD = timedelta(minutes=15)
FORGOTTEN = timedelta(days=1)
EPOCH = datetime.fromtimestamp(0, UTC)


class Way(NamedTuple):
    """What is not to be looked at now: rows of ``site`` whose ``field`` has the ``value``."""

    site: str
    field: str
    value: str


class Left(NamedTuple):
    """What is left: rows that are held, and those that have been unknown for 15 minutes, but not for a day."""

    held: int
    unknown_old: int


class Backlog:
    """The ledger's rows that are not done. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def settle_stale(self) -> int:
        """Turn rows that were interrupted while sending into `unknown`; return how many."""
        now = moment(self._clock())
        with translate_errors():
            return self._rows.update_many(stale(now), interrupted(now)).modified_count

    def due(self, closed: AbstractSet[Way] = frozenset()) -> Generator[Held, None, None]:
        """Yield what is held and due by now and goes none of the ways *closed*, the longest due first."""
        held: Document = {"state": State.HELD.value, "until": {"$lte": moment(self._clock())}}
        if closed:
            held["$nor"] = [{"site": way.site, way.field: way.value} for way in closed]
        with translate_errors(), self._rows.find(held, {"held": 1, "until": 1, "converted": 1}).sort("until") as rows:
            for row in rows:
                try:
                    activation = msgspec.json.decode(row["held"]["activation"], type=Activation)
                except msgspec.DecodeError:
                    self._give_up(row)
                    continue
                yield Held(
                    activation,
                    until=(row["until"] - EPOCH) // timedelta(milliseconds=1),
                    since=row["held"]["since"],
                    failing=row["held"].get("failing", 0),
                    converted="converted" in row,
                )

    def left(self) -> Left:
        """Count what is left."""
        now = moment(self._clock())
        old = {"state": State.UNKNOWN.value, "updated": {"$gte": now - FORGOTTEN, "$lt": now - OLD}}
        with translate_errors():
            return Left(self._rows.count_documents({"state": State.HELD.value}), self._rows.count_documents(old))

    def _give_up(self, row: Document) -> None:
        changes = {"state": State.FAILED_FINAL.value, "reason": "unreadable", "updated": moment(self._clock())}
        self._rows.update_one(
            {"_id": row["_id"], "state": State.HELD.value, "until": row["until"]},
            {"$set": changes, "$unset": NO_LONGER_HELD},
        )
