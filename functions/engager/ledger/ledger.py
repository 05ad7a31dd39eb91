"""The ledger: one row per activation, written before anything leaves the house.

    Engager A ── claim: insert `sending` ──▶ provider ──▶ settle: `sent` | `failed_…` | `unknown`
    Engager B ──── claim: row is there ──▶ stop

A killed A leaves `sending`. Nobody can say whether the provider has accepted, so after twice the
Engager's timeout the row becomes `unknown`; it never becomes "not sent". Only `failed_retryable`,
where the provider has said no, may go back to `sending`, and a compare-and-set lets one do it.

    hold ──▶ `held` ──(sweep: compare-and-set on `until`)──▶ `sending` | `suppressed` | `dropped_late` | `held`

A held row is the sweep's alone: it keeps the whole activation in ``held`` until it is settled, and a
copy of its message changes nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.write_concern import WriteConcern

from engager.ledger.states import Content, Held, Outcome, State, due, recorded
from shared.clock import Clock
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.mongodb import Document, translate_errors

ENGAGER_TIMEOUT = timedelta(seconds=30)
STALE_AFTER = 2 * ENGAGER_TIMEOUT
DUPLICATE_KEY = 11000
# Reasons that come after the match: what is not sent yet can be called back.
CALLED_BACK = frozenset({"cancelled", "goal"})
NO_LONGER_HELD = {"held": "", "until": ""}
NOT_YET_SENT = [State.HELD.value, State.FAILED_RETRYABLE.value]
UNSETTLED = [State.SENDING.value, State.UNKNOWN.value]


class MongoLedger:
    """The ledger in MongoDB, collection ``activations``; every write waits for a majority.

    Raises `Unavailable` when the database does not answer: then nothing may be sent.
    """

    def __init__(self, rows: Collection[Document], clock: Clock) -> None:
        self._rows = rows.with_options(write_concern=WriteConcern("majority"))
        self._clock = clock

    def claim(
        self,
        activation: Activation,
        state: State = State.SENDING,
        reason: str | None = None,
        *,
        variant: str | None = None,
        held: Held | None = None,
    ) -> bool:
        """Take *activation* over in *state*; return ``False`` where it is somebody else's, or done.

        *held*: as the sweep has found it. ``attempts`` counts the claims for sending. Raises `Unavailable` where
        somebody else is sending it right now: the provider may refuse it yet, and then this copy is the one that is
        left to try again.
        """
        changes: Document = {"state": state.value, "updated": self._now()}
        if reason is not None:
            changes["reason"] = reason
        if variant is not None:
            changes["variant"] = variant
        attempt = {"attempts": 1} if state is State.SENDING else {}
        with translate_errors():
            if held is None and self._insert(activation, changes | attempt):
                return True
            unset = {} if reason else {"reason": ""}
            if state is not State.SENDING:
                unset |= NO_LONGER_HELD
            update = {"$set": changes, **({"$unset": unset} if unset else {}), **({"$inc": attempt} if attempt else {})}
            if self._rows.update_one(self._takeable(activation.id, held), update).modified_count:
                return True
            self._rows.update_one({"_id": activation.id, **stale(self._now())}, interrupted(self._now()))
            if held is None and self._rows.find_one({"_id": activation.id, "state": State.SENDING.value}, {"_id": 1}):
                raise Unavailable("another delivery of it is under way", code="in_progress")
            return False

    def hold(self, held: Held, reason: str, *, seen: Held | None = None) -> bool:
        """Keep an activation to be delivered later; return ``False`` where it is somebody else's, or done.

        *seen*: as the sweep has found it, where it was held before.
        """
        changes = self._waiting(held, reason)
        with translate_errors():
            if seen is None and self._insert(held.activation, changes):
                return True
            return bool(
                self._rows.update_one(self._takeable(held.activation.id, seen), {"$set": changes}).modified_count
            )

    def put_off(self, held: Held, reason: str) -> None:
        """Hold an activation again that was claimed and that the provider has refused for now."""
        with translate_errors():
            self._rows.update_one(
                {"_id": held.activation.id, "state": {"$in": UNSETTLED}}, {"$set": self._waiting(held, reason)}
            )

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
        unset = NO_LONGER_HELD | ({} if outcome.reason else {"reason": ""})
        with translate_errors():
            self._rows.update_one(
                {"_id": activation_id, "state": {"$in": UNSETTLED}}, {"$set": changes, "$unset": unset}
            )

    def keep(self, activation: Activation, content: Content, variant: str | None = None) -> Content | None:
        """Store a popup's *content* as sent, or return the content stored before (``None``: no popup)."""
        values: Document = {"state": State.SENT.value, "content": content, "updated": self._now()}
        if variant is not None:
            values["variant"] = variant
        with translate_errors():
            if self._insert(activation, values):
                return content
            row = self._rows.find_one({"_id": activation.id}, {"content": 1})
        return row.get("content") if row else None

    def suppress(self, activations: Sequence[Activation]) -> None:
        """Record *activations* that a gate has stopped, all in one write; repeats change nothing.

        One that was called back in time, while it is held or waits to be tried again, is stopped there; in any other
        state it stays as it is.
        """
        if not activations:
            return
        now = self._now()
        values = {
            each.id: {"state": recorded(each).value, "reason": each.suppressed, "updated": now} for each in activations
        }
        with translate_errors():
            known = self._insert_many([self._row(each, values[each.id]) for each in activations])
            late = [
                UpdateOne(
                    {"_id": name, "state": {"$in": NOT_YET_SENT}},
                    {"$set": values[name], "$unset": NO_LONGER_HELD},
                )
                for name in known
                if values[name]["reason"] in CALLED_BACK
            ]
            if late:
                self._rows.bulk_write(late, ordered=False)

    def _insert_many(self, rows: list[Document]) -> set[str]:
        """Insert *rows* and return the ids of those that were there already."""
        try:
            self._rows.insert_many(rows, ordered=False)
        except BulkWriteError as error:
            failures = error.details or {}
            errors = failures.get("writeErrors", [])
            if failures.get("writeConcernErrors") or any(one["code"] != DUPLICATE_KEY for one in errors):
                raise
            return {one["op"]["_id"] for one in errors}
        return set()

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
            "at": moment(activation.at),
            "due": moment(due(activation)),
            "created": self._now(),
            **values,
        }

    def _takeable(self, activation_id: str, held: Held | None) -> Document:
        if held is None:
            return {"_id": activation_id, "state": State.FAILED_RETRYABLE.value}
        return {"_id": activation_id, "state": State.HELD.value, "until": moment(held.until)}

    def _waiting(self, held: Held, reason: str) -> Document:
        return {
            "state": State.HELD.value,
            "reason": reason,
            "until": moment(held.until),
            # Encoded: what a site's events say may have names that a document must not have.
            "held": {
                "activation": msgspec.json.encode(held.activation),
                "since": held.since,
                **({"failing": held.failing} if held.failing else {}),
            },
            "updated": self._now(),
        }

    def _now(self) -> datetime:
        return moment(self._clock())


def stale(now: datetime) -> Document:
    """Return the filter of rows whose sender must be dead."""
    return {"state": State.SENDING.value, "updated": {"$lt": now - STALE_AFTER}}


def interrupted(now: datetime) -> Document:
    """Return the update that names such a row: nobody can say what became of it."""
    changes = {"state": State.UNKNOWN.value, "reason": "interrupted", "updated": now}
    return {"$set": changes, "$unset": NO_LONGER_HELD}


def moment(ms: int) -> datetime:
    """Return a time in ms as MongoDB keeps it."""
    return datetime.fromtimestamp(ms / 1000, UTC)
