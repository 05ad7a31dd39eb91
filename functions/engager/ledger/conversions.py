"""Conversions: record in the ledger that an activation reached its goal.

The goal may come before the row: the message still waits in the queue, or its delay has not ended. The browser cannot
wait for that. So an early conversion goes to a collection of its own, and a sweep moves it to the row. It expires after
a week.

    mark ── row exists ──▶ `converted`
         ── no row ──────▶ conversions ──(sweep)──▶ `converted`

The same step recalls a message that is held, waits for a retry or is being sent, unless its campaign says otherwise:
the customer has already done what it would ask for. The Engager looks up the goal of a queued message just before it
sends it.
"""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import to_datetime
from engager.ledger.recalls import recall
from shared.clock import Clock
from shared.contracts import Conversion
from shared.mongodb import Document, translate_errors

MAX_PER_SWEEP = 500


class Conversions:
    """Writes ``converted`` into *rows*; *early* keeps conversions that have no row yet. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document], early: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._early = early.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def mark(self, conversions: Sequence[Conversion]) -> None:
        """Mark the rows of *conversions*. The first time is kept, and repeats change nothing."""
        if not conversions:
            return
        now = to_datetime(self._clock())
        marks = [
            UpdateOne({"_id": each.id}, _marked(to_datetime(each.at), now, each.calls_back)) for each in conversions
        ]
        with translate_errors():
            if self._rows.bulk_write(marks, ordered=False).matched_count == len(marks):
                return
            ids = [each.id for each in conversions]
            known = {row["_id"] for row in self._rows.find({"_id": {"$in": ids}}, {"_id": 1})}
            early = [self._early_mark(each, now) for each in conversions if each.id not in known]
            if early:
                self._early.bulk_write(early, ordered=False)
            if known:  # rows may have been inserted between the write and the read
                self._rows.bulk_write(marks, ordered=False)

    def reached(self, activation_id: str) -> bool:
        """Return whether an activation without a row reached its goal, and is recalled by it."""
        with translate_errors():
            return self._early.find_one({"_id": activation_id, "calls_back": True}, {"_id": 1}) is not None

    def apply_early(self) -> int:
        """Move early conversions to the rows that exist by now; return how many."""
        join = {"from": self._rows.name, "localField": "_id", "foreignField": "_id", "as": "row"}
        with_row: list[Document] = [
            {"$lookup": join},
            {"$match": {"row": {"$ne": []}}},
            {"$limit": MAX_PER_SWEEP},
            {"$project": {"at": 1, "calls_back": 1}},
        ]
        now = to_datetime(self._clock())
        with translate_errors():
            found = list(self._early.aggregate(with_row))
            for each in found:
                self._rows.update_one({"_id": each["_id"]}, _marked(each["at"], now, each.get("calls_back", False)))
                self._early.delete_one({"_id": each["_id"]})
        return len(found)

    def _early_mark(self, conversion: Conversion, now: datetime) -> UpdateOne:
        changes = {
            "$min": {"at": to_datetime(conversion.at)},
            "$set": {"calls_back": conversion.calls_back},
            "$setOnInsert": {"created": now},
        }
        return UpdateOne({"_id": conversion.id}, changes, upsert=True)


def _marked(at: datetime, now: datetime, calls_back: bool) -> list[Document]:
    """Return the update of a row whose goal was reached at *at*."""
    changes: Document = {"converted": {"$min": ["$converted", at]}}
    return [{"$set": changes | (recall("goal", now, replaces_lost=False) if calls_back else {})}]
