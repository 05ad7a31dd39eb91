"""The open rows of the ledger: held ones that are due, and ones whose Engager died while sending."""

from collections.abc import Generator
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import interrupted_update, stale_filter, to_datetime
from engager.ledger.recalls import UNSET_HELD
from engager.ledger.states import HeldActivation, State
from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors

OLD_AFTER = timedelta(minutes=15)
UNCOUNTED_AFTER = timedelta(days=1)
EPOCH = datetime.fromtimestamp(0, UTC)


class Exclusion(NamedTuple):
    """Rows to skip: those of ``site`` whose ``field`` has the ``value``."""

    site: str
    field: str
    value: str


class BacklogCounts(NamedTuple):
    """``held``: rows on hold. ``unknown_old``: rows that are unknown for more than 15 minutes and less than a day."""

    held: int
    unknown_old: int


class Backlog:
    """The ledger's open rows. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def mark_interrupted(self) -> int:
        """Mark rows whose Engager died while sending as `unknown`; return how many."""
        now = to_datetime(self._clock())
        with translate_errors():
            return self._rows.update_many(stale_filter(now), interrupted_update(now)).modified_count

    def due(self, excluded: AbstractSet[Exclusion] = frozenset()) -> Generator[HeldActivation, None, None]:
        """Yield the held activations that are due and not *excluded*, the longest due first."""
        due: Document = {"state": State.HELD.value, "until": {"$lte": to_datetime(self._clock())}}
        if excluded:
            due["$nor"] = [{"site": each.site, each.field: each.value} for each in excluded]
        with translate_errors(), self._rows.find(due, {"held": 1, "until": 1, "converted": 1}).sort("until") as rows:
            for row in rows:
                try:
                    activation = msgspec.json.decode(row["held"]["activation"], type=Activation)
                except msgspec.DecodeError:
                    self._fail_unreadable(row)
                    continue
                yield HeldActivation(
                    activation,
                    until=(row["until"] - EPOCH) // timedelta(milliseconds=1),
                    expected_at=row["held"]["expected_at"],
                    failing_since=row["held"].get("failing_since", 0),
                    converted="converted" in row,
                )

    def count(self) -> BacklogCounts:
        """Count the open rows."""
        now = to_datetime(self._clock())
        old = {"state": State.UNKNOWN.value, "updated": {"$gte": now - UNCOUNTED_AFTER, "$lt": now - OLD_AFTER}}
        with translate_errors():
            return BacklogCounts(
                self._rows.count_documents({"state": State.HELD.value}), self._rows.count_documents(old)
            )

    def _fail_unreadable(self, row: Document) -> None:
        changes = {"state": State.FAILED_FINAL.value, "reason": "unreadable", "updated": to_datetime(self._clock())}
        self._rows.update_one(
            {"_id": row["_id"], "state": State.HELD.value, "until": row["until"]},
            {"$set": changes, "$unset": UNSET_HELD},
        )
