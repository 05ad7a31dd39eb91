"""Recalls: what a cancellation, a goal or `opportune forget` does to a row that was not sent yet.

A row that is held, or that the provider refused for now, becomes `suppressed`. A row that is being sent gets the mark
``recalled``: the call cannot be stopped, but a refusal ends the row.

A row `state_lost` says only that the state store does not know the activation. Anything that is known replaces it: a
copy from the queue, which may still come, and a record. A conversion only marks the row, so that no late copy is sent:
an activation that never came due must not count for or against its message.
"""

from datetime import datetime

from engager.ledger.states import NOT_YET_SENT, State
from shared.mongodb import Document

UNSET_HELD = {"held": "", "until": ""}
UNSET_OPEN = {**UNSET_HELD, "recalled": ""}  # what a row no longer needs once its outcome is known
# A process may still be sending a row that is `unknown`: a sweep took it for dead.
UNSETTLED = [State.SENDING.value, State.UNKNOWN.value]
STATE_LOST = "state_lost"
LOST = {"state": State.SUPPRESSED.value, "reason": STATE_LOST}


def recall(reason: str, now: datetime | str, *, replaces_lost: bool) -> Document:
    """Return the fields that a ``$set`` of a pipeline changes in a row that is recalled for *reason*.

    *now*: a time, or an expression such as ``$$NOW``.
    *replaces_lost*: whether *reason* replaces `state_lost`; else such a row only gets the mark.
    """
    is_lost: Document = {"$and": [{"$eq": [f"${name}", value]} for name, value in LOST.items()]}
    is_pending: Document = {"$in": ["$state", [state.value for state in NOT_YET_SENT]]}
    is_marked: Document = {"$in": ["$state", UNSETTLED]}
    if replaces_lost:
        is_pending = {"$or": [is_pending, is_lost]}
    else:
        is_marked = {"$or": [is_marked, is_lost]}
    suppressed = {"state": State.SUPPRESSED.value, "reason": reason, "updated": now}
    changes: Document = {name: {"$cond": [is_pending, value, f"${name}"]} for name, value in suppressed.items()}
    changes |= {name: {"$cond": [is_pending, "$$REMOVE", f"${name}"]} for name in UNSET_HELD}
    mark = {"$ifNull": ["$recalled", reason]}
    kept = {"$cond": [is_pending, "$$REMOVE", "$recalled"]}
    return changes | {"recalled": {"$cond": [is_marked, mark, kept]}}


def recalled_update(now: datetime) -> list[Document]:
    """Return the update of a row with the mark ``recalled`` whose message the provider refused."""
    changes = {"state": State.SUPPRESSED.value, "reason": "$recalled", "updated": now}
    return [{"$set": changes}, {"$unset": list(UNSET_OPEN)}]
