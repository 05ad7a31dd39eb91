"""Conversions: the ledger learns that an activation has reached its goal.

The goal may be reached before the row is there: its message still waits in the queue, or its delay is not over.
The browser that waits for an answer cannot wait for that, so such a conversion is kept by itself, and a sweep
carries it over. After a week nobody expects the row any more.

    mark ── row there ──▶ `converted`
         ── no row ─────▶ conversions ──(sweep)──▶ `converted`

A message that is not sent yet, held or to be tried again, is called back in the same step, unless its campaign wants
otherwise: nobody is reminded of what he has done. One that is still in the queue is looked for here before it is sent.
"""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from engager.ledger.ledger import NO_LONGER_HELD, NOT_YET_SENT, moment
from engager.ledger.states import State
from shared.clock import Clock
from shared.contracts import Conversion
from shared.mongodb import Document, translate_errors

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
        now = moment(self._clock())
        marks = [UpdateOne({"_id": each.id}, _mark(moment(each.at), now, each.calls_back)) for each in conversions]
        with translate_errors():
            if self._rows.bulk_write(marks, ordered=False).matched_count == len(marks):
                return
            ids = [each.id for each in conversions]
            known = {row["_id"] for row in self._rows.find({"_id": {"$in": ids}}, {"_id": 1})}
            kept = [
                UpdateOne(
                    {"_id": each.id},
                    {
                        "$min": {"at": moment(each.at)},
                        "$set": {"calls_back": each.calls_back},
                        "$setOnInsert": {"created": now},
                    },
                    upsert=True,
                )
                for each in conversions
                if each.id not in known
            ]
            if kept:
                self._early.bulk_write(kept, ordered=False)
            if known:  # some of them may have come between the two looks
                self._rows.bulk_write(marks, ordered=False)

    def reached(self, activation_id: str) -> bool:
        """Return whether the goal of an activation that has no row yet was reached, and calls it back."""
        with translate_errors():
            return self._early.find_one({"_id": activation_id, "calls_back": True}, {"_id": 1}) is not None

    def catch_up(self) -> int:
        """Mark the rows that have come since; return how many."""
        join = {"from": self._rows.name, "localField": "_id", "foreignField": "_id", "as": "row"}
        arrived: list[Document] = [
            {"$lookup": join},
            {"$match": {"row": {"$ne": []}}},
            {"$limit": MOST_PER_SWEEP},
            {"$project": {"at": 1, "calls_back": 1}},
        ]
        now = moment(self._clock())
        with translate_errors():
            found = list(self._early.aggregate(arrived))
            for each in found:
                self._rows.update_one({"_id": each["_id"]}, _mark(each["at"], now, each.get("calls_back", False)))
                self._early.delete_one({"_id": each["_id"]})
        return len(found)


def _mark(at: datetime, now: datetime, calls_back: bool) -> list[Document]:
    """Return the update of a row whose goal was reached at *at*."""
    changes: Document = {"converted": {"$min": ["$converted", at]}}
    if calls_back:
        waits = {"$in": ["$state", NOT_YET_SENT]}
        stopped = {"state": State.SUPPRESSED.value, "reason": "goal", "updated": now}
        changes |= {name: {"$cond": [waits, value, f"${name}"]} for name, value in stopped.items()}
        changes |= {name: {"$cond": [waits, "$$REMOVE", f"${name}"]} for name in NO_LONGER_HELD}
    return [{"$set": changes}]
