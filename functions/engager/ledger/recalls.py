"""Recalls: what a cancellation, a goal or `opportune forget` does to a row that was not sent yet.

A row that is held, or that the provider refused for now, becomes `suppressed`. A row that is being sent gets the mark
``recalled``: the call cannot be stopped, but a refusal ends the row.
"""

from datetime import datetime

from engager.ledger.states import NOT_YET_SENT, State
from shared.mongodb import Document

UNSET_HELD = {"held": "", "until": ""}
UNSET_OPEN = {**UNSET_HELD, "recalled": ""}  # what a row no longer needs once its outcome is known
# A process may still be sending a row that is `unknown`: a sweep took it for dead.
UNSETTLED = [State.SENDING.value, State.UNKNOWN.value]


def recall(reason: str, now: datetime | str) -> Document:
    """Return the fields that a ``$set`` of a pipeline changes in a row that is recalled for *reason*.

    *now*: a time, or an expression such as ``$$NOW``.
    """
    is_pending = {"$in": ["$state", [state.value for state in NOT_YET_SENT]]}
    suppressed = {"state": State.SUPPRESSED.value, "reason": reason, "updated": now}
    changes: Document = {name: {"$cond": [is_pending, value, f"${name}"]} for name, value in suppressed.items()}
    changes |= {name: {"$cond": [is_pending, "$$REMOVE", f"${name}"]} for name in UNSET_HELD}
    mark = {"$ifNull": ["$recalled", reason]}
    return changes | {"recalled": {"$cond": [{"$in": ["$state", UNSETTLED]}, mark, "$recalled"]}}


def recalled_update(now: datetime) -> list[Document]:
    """Return the update of a row with the mark ``recalled`` whose message the provider refused."""
    changes = {"state": State.SUPPRESSED.value, "reason": "$recalled", "updated": now}
    return [{"$set": changes}, {"$unset": list(UNSET_OPEN)}]
