"""The ledger: one row per activation, written before any call to a provider.

    Engager A ── claim: insert `sending` ──▶ provider ──▶ settle: `sent` | `failed_…` | `unknown`
    Engager B ──── claim: row exists ──▶ stop

If A dies, its row stays `sending`, and the provider may have accepted the message. After twice the Engager's timeout
the row becomes `unknown`, never "not sent". Only `failed_retryable`, a definite refusal, and `suppressed (state_lost)`
may become `sending` again. A compare-and-set lets one Engager do that.

    cancellation ──▶ `sending` gets the mark ``recalled`` ──▶ provider accepts: `sent` | refuses for now: `suppressed`

    hold ──▶ `held` ──(sweep: compare-and-set on `until`)──▶ `sending` | `suppressed` | `dropped_late` | `held`

Only sweeps claim a held row. It keeps the whole activation in ``held`` until it is settled. A copy of its message from
the queue changes nothing.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.write_concern import WriteConcern

from engager.ledger.recalls import (
    LOST,
    UNSET_HELD,
    UNSET_OPEN,
    UNSETTLED,
    recall,
    recalled_update,
)
from engager.ledger.states import (
    DeliveryResult,
    HeldActivation,
    RenderedContent,
    State,
    due_at,
    suppressed_state,
)
from shared.clock import Clock
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.mongodb import Document, translate_errors

ENGAGER_TIMEOUT = timedelta(seconds=30)
STALE_AFTER = 2 * ENGAGER_TIMEOUT
DUPLICATE_KEY = 11000
# Reasons that can follow a match: they recall an activation that was not sent yet.
RECALLING_REASONS = frozenset({"cancelled", "goal"})
# What a delayed activation can end as in the state store: such a record replaces that of its loss.
ENDS_OF_A_DELAY = RECALLING_REASONS | {"holdout"}


class MongoLedger:
    """The ledger in MongoDB, collection ``activations``. Every write waits for a majority.

    Raises `Unavailable` if the database does not answer: then nothing may be sent.
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
        held: HeldActivation | None = None,
    ) -> bool:
        """Claim *activation* in *state*; return ``False`` if another Engager has it, or it is done.

        *held*: what the sweep found; ``None`` for a message of the queue. ``attempts`` counts the claims for sending.
        Raises `Unavailable` while another Engager is sending the activation. The provider may still refuse it, and
        then this copy of the message is needed for the retry.
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
                unset |= UNSET_HELD
            update = {"$set": changes, **({"$unset": unset} if unset else {}), **({"$inc": attempt} if attempt else {})}
            if self._rows.update_one(self._claimable(activation.id, held), update).modified_count:
                return True
            self._rows.update_one({"_id": activation.id, **stale_filter(self._now())}, interrupted_update(self._now()))
            if held is None and self._rows.find_one({"_id": activation.id, "state": State.SENDING.value}, {"_id": 1}):
                raise Unavailable("another Engager is sending this activation", code="in_progress")
            return False

    def hold(self, held: HeldActivation, reason: str, *, found: HeldActivation | None = None) -> bool:
        """Hold an activation for later; return ``False`` if another Engager has it, or it is done.

        *found*: what the sweep found, if it was held before.
        """
        changes = self._held(held, reason)
        with translate_errors():
            if found is None and self._insert(held.activation, changes):
                return True
            return bool(
                self._rows.update_one(self._claimable(held.activation.id, found), {"$set": changes}).modified_count
            )

    def hold_claimed(self, held: HeldActivation, reason: str) -> DeliveryResult:
        """Hold an activation again that this Engager claimed and the provider refused for now.

        Return what the row says now: `suppressed` if the activation was recalled during the call.
        """
        refused = DeliveryResult(State.HELD, reason)
        return self._refuse(held.activation.id, {"$set": self._held(held, reason)}, refused)

    def settle(self, activation_id: str, result: DeliveryResult) -> DeliveryResult:
        """Record the *result* of a claimed activation.

        Return what the row says now: `suppressed` if the provider refused an activation that was recalled meanwhile.
        The row may be `unknown` by now, if a sweep took this Engager for dead. The result corrects it.
        """
        if result.state is None:
            return result
        changes: Document = {"state": result.state.value, "updated": self._now()}
        if result.provider_id is not None:
            changes["provider_id"] = result.provider_id
        if result.reason is not None:
            changes["reason"] = result.reason
        unset = UNSET_OPEN | ({} if result.reason else {"reason": ""})
        if result.state is State.FAILED_RETRYABLE:
            return self._refuse(activation_id, {"$set": changes, "$unset": unset}, result)
        with translate_errors():
            self._rows.update_one(_unsettled(activation_id), {"$set": changes, "$unset": unset})
        return result

    def store_popup(
        self, activation: Activation, content: RenderedContent, variant: str | None = None
    ) -> RenderedContent | None:
        """Store a popup's *content* as sent. If the row exists, return its content instead (``None``: no popup)."""
        values: Document = {"state": State.SENT.value, "content": content, "updated": self._now()}
        if variant is not None:
            values["variant"] = variant
        with translate_errors():
            if self._insert(activation, values):
                return content
            row = self._rows.find_one({"_id": activation.id}, {"content": 1})
        return row.get("content") if row else None

    def record_suppressed(self, activations: Sequence[Activation]) -> set[str]:
        """Record *activations* that a gate stopped, all in one write; return the ids that had a row already.

        If a cancellation or a goal finds a row that was not sent yet, it suppresses that row. If an Engager is sending
        it, the row gets a mark: then a refusal ends it. A row `state_lost` becomes what the record says. Rows in any
        other state stay as they are, so repeats change nothing.
        """
        if not activations:
            return set()
        now = self._now()
        values: dict[str, Document] = {
            each.id: {"state": suppressed_state(each).value, "reason": each.suppressed, "updated": now}
            for each in activations
        }
        with translate_errors():
            existing = self._insert_many([self._row(each, values[each.id]) for each in activations])
            updates = [
                _later_record(name, values[name]) for name in existing if values[name]["reason"] in ENDS_OF_A_DELAY
            ]
            if updates:
                self._rows.bulk_write(updates, ordered=False)
        return existing

    def _refuse(self, activation_id: str, update: Document, refused: DeliveryResult) -> DeliveryResult:
        """Apply *update* to a claimed row whose message the provider *refused*, unless it was recalled: then end it."""
        claimed = _unsettled(activation_id)
        with translate_errors():
            if self._rows.update_one({**claimed, "recalled": {"$exists": False}}, update).matched_count:
                return refused
            ended = self._rows.find_one_and_update(
                {**claimed, "recalled": {"$exists": True}}, recalled_update(self._now()), {"recalled": 1}
            )
        return DeliveryResult(State.SUPPRESSED, ended["recalled"]) if ended else refused

    def _insert_many(self, rows: list[Document]) -> set[str]:
        """Insert *rows* and return the ids of those that existed already."""
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
            "at": to_datetime(activation.at),
            "due": to_datetime(due_at(activation)),
            "created": self._now(),
            **values,
        }

    def _claimable(self, activation_id: str, held: HeldActivation | None) -> Document:
        if held is None:
            lost = {**LOST, "recalled": {"$exists": False}}
            return {"_id": activation_id, "$or": [{"state": State.FAILED_RETRYABLE.value}, lost]}
        return {"_id": activation_id, "state": State.HELD.value, "until": to_datetime(held.until)}

    def _held(self, held: HeldActivation, reason: str) -> Document:
        return {
            "state": State.HELD.value,
            "reason": reason,
            "until": to_datetime(held.until),
            # Encoded, because event attributes may have names that MongoDB does not allow in a document.
            "held": {
                "activation": msgspec.json.encode(held.activation),
                "expected_at": held.expected_at,
                **({"failing_since": held.failing_since} if held.failing_since else {}),
            },
            "updated": self._now(),
        }

    def _now(self) -> datetime:
        return to_datetime(self._clock())


def _later_record(activation_id: str, values: Document) -> UpdateOne:
    """Return the update of a row that existed before the record of *values* came."""
    if values["reason"] not in RECALLING_REASONS:
        return UpdateOne({"_id": activation_id, **LOST}, {"$set": values, "$unset": UNSET_OPEN})
    changes = recall(values["reason"], values["updated"], replaces_lost=True)
    return UpdateOne({"_id": activation_id}, [{"$set": changes}])


def _unsettled(activation_id: str) -> Document:
    return {"_id": activation_id, "state": {"$in": UNSETTLED}}


def stale_filter(now: datetime) -> Document:
    """Return the filter of rows whose Engager must have died while sending."""
    return {"state": State.SENDING.value, "updated": {"$lt": now - STALE_AFTER}}


def interrupted_update(now: datetime) -> Document:
    """Return the update of such a row: the provider may or may not have accepted the message."""
    changes = {"state": State.UNKNOWN.value, "reason": "interrupted", "updated": now}
    return {"$set": changes, "$unset": UNSET_HELD}


def to_datetime(ms: int) -> datetime:
    """Return the time *ms* as MongoDB stores it."""
    return datetime.fromtimestamp(ms / 1000, UTC)
