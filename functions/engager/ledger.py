"""The ledger: one row per activation, written before anything leaves the house.

    Engager A ── claim: insert `sending` ──▶ provider ──▶ settle: `sent` | `failed_…` | `unknown`
    Engager B ──── claim: row is there ──▶ stop

A killed A leaves `sending`. Nobody can say whether the provider has accepted, so after twice the
Engager's timeout the row becomes `unknown`; it never becomes "not sent". Only `failed_retryable`,
where the provider has said no, may go back to `sending`, and a compare-and-set lets one do it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.write_concern import WriteConcern

from engager.outcome import Content, Outcome, State
from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, guarded

ENGAGER_TIMEOUT = timedelta(seconds=30)
STALE_AFTER = 2 * ENGAGER_TIMEOUT
SWEEP_EVERY = timedelta(minutes=1)
DUPLICATE_KEY = 11000


class MongoLedger:
    """The ledger in MongoDB, collection ``activations``; every write waits for a majority.

    Raises `Unavailable` when the database does not answer: then nothing may be sent.
    """

    def __init__(self, rows: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock
        self._swept: datetime | None = None

    def claim(self, activation: Activation, state: State = State.SENDING, reason: str | None = None) -> bool:
        """Take *activation* over in *state*; return ``False`` where it is somebody else's, or done."""
        changes: Document = {"state": state.value, "updated": self._now()}
        if reason is not None:
            changes["reason"] = reason
        with guarded():
            if self._insert(activation, changes):
                return True
            retried = self._rows.update_one(
                {"_id": activation.id, "state": State.FAILED_RETRYABLE.value},
                {"$set": changes, **({} if reason else {"$unset": {"reason": ""}}), "$inc": {"attempts": 1}},
            )
            if retried.modified_count:
                return True
            self._rows.update_one({"_id": activation.id, **self._stale()}, self._interrupted())
            return False

    def settle(self, activation_id: str, outcome: Outcome) -> None:
        """Write down what came of a claimed activation.

        A row that was taken for interrupted in the meantime is put right: this is the one who knows.
        """
        if outcome.state is None:
            return
        changes: Document = {"state": outcome.state.value, "updated": self._now()}
        if outcome.provider_id is not None:
            changes["provider_id"] = outcome.provider_id
        if outcome.reason is not None:
            changes["reason"] = outcome.reason
        with guarded():
            self._rows.update_one(
                {"_id": activation_id, "state": {"$in": [State.SENDING.value, State.UNKNOWN.value]}},
                {"$set": changes, **({} if outcome.reason else {"$unset": {"reason": ""}})},
            )

    def keep(self, activation: Activation, content: Content) -> Content | None:
        """Store a popup's *content* as sent, or return the content stored before (``None``: no popup)."""
        with guarded():
            if self._insert(activation, {"state": State.SENT.value, "content": content, "updated": self._now()}):
                return content
            row = self._rows.find_one({"_id": activation.id}, {"content": 1})
        return row.get("content") if row else None

    def suppress(self, activations: Sequence[Activation]) -> None:
        """Record *activations* that a gate has stopped, all in one write; repeats change nothing."""
        if not activations:
            return
        rows = [
            self._row(activation, {"state": State.SUPPRESSED.value, "reason": activation.suppressed})
            for activation in activations
        ]
        with guarded():
            try:
                self._rows.insert_many(rows, ordered=False)
            except BulkWriteError as error:
                failures = error.details or {}
                written = all(one["code"] == DUPLICATE_KEY for one in failures.get("writeErrors", []))
                if not written or failures.get("writeConcernErrors"):
                    raise

    def settle_stale(self) -> int:
        """Turn rows that were interrupted while sending into `unknown`; return how many.

        Looks at most once a minute. Needed where a killed Engager's message was acknowledged by another
        copy of it, so that no redelivery comes to find the row.
        """
        now = self._now()
        if self._swept is not None and now - self._swept < SWEEP_EVERY:
            return 0
        self._swept = now
        with guarded():
            self._rows.create_index(
                [("state", 1), ("updated", 1)],
                name="sending",
                partialFilterExpression={"state": State.SENDING.value},
            )
            return self._rows.update_many(self._stale(), self._interrupted()).modified_count

    def _insert(self, activation: Activation, values: Document) -> bool:
        try:
            self._rows.insert_one(self._row(activation, values))
        except DuplicateKeyError:
            return False
        return True

    def _row(self, activation: Activation, values: Document) -> Document:
        return {
            "_id": activation.id,
            "site": activation.site,
            "user": activation.user,
            "campaign": activation.campaign,
            "ruleset": activation.ruleset,
            "channel": activation.channel,
            "event": activation.event,
            "message_id": activation.message_id,
            "per": activation.per,
            "at": datetime.fromtimestamp(activation.at / 1000, UTC),
            "created": self._now(),
            **values,
        }

    def _stale(self) -> Document:
        return {"state": State.SENDING.value, "updated": {"$lt": self._now() - STALE_AFTER}}

    def _interrupted(self) -> Document:
        return {
            "$set": {"state": State.UNKNOWN.value, "reason": "interrupted", "updated": self._now()},
        }

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / 1000, UTC)
