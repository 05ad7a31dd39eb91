"""Conversions: the ledger learns that an activation has reached its goal.

The goal may be reached before the row is there: its message still waits in the queue, or its delay is not over.
The browser that waits for an answer cannot wait for that, so such a conversion is kept by itself, and a sweep
carries it over. After a week nobody expects the row any more.

    mark ── row there ──▶ `converted`
         ── no row ─────▶ conversions ──(sweep)──▶ `converted`
"""

from collections.abc import Sequence

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger import moment
from shared.clock import Clock
from shared.contracts import Conversion
from shared.mongodb import Document, guarded

MOST_PER_SWEEP = 500


class Conversions:
    """Writes ``converted`` into *rows*; *early* keeps what comes before its row. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document], early: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._early = early.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def mark(self, conversions: Sequence[Conversion]) -> None:
        """Mark the rows of *conversions*; the first time stays, and repeats change nothing."""
        if not conversions:
            return
        marks = [UpdateOne({"_id": each.id}, {"$min": {"converted": moment(each.at)}}) for each in conversions]
        with guarded():
            if self._rows.bulk_write(marks, ordered=False).matched_count == len(marks):
                return
            ids = [each.id for each in conversions]
            known = {row["_id"] for row in self._rows.find({"_id": {"$in": ids}}, {"_id": 1})}
            begun = {"$setOnInsert": {"created": moment(self._clock())}}
            kept = [
                UpdateOne({"_id": each.id}, {"$min": {"at": moment(each.at)}, **begun}, upsert=True)
                for each in conversions
                if each.id not in known
            ]
            if kept:
                self._early.bulk_write(kept, ordered=False)
            if known:  # some of them may have come between the two looks
                self._rows.bulk_write(marks, ordered=False)

    def catch_up(self) -> int:
        """Mark the rows that have come since; return how many."""
        join = {"from": self._rows.name, "localField": "_id", "foreignField": "_id", "as": "row"}
        arrived: list[Document] = [
            {"$lookup": join},
            {"$match": {"row": {"$ne": []}}},
            {"$limit": MOST_PER_SWEEP},
            {"$project": {"at": 1}},
        ]
        with guarded():
            found = list(self._early.aggregate(arrived))
            for each in found:
                self._rows.update_one({"_id": each["_id"]}, {"$min": {"converted": each["at"]}})
                self._early.delete_one({"_id": each["_id"]})
        return len(found)
