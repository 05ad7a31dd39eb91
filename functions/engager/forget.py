"""Forgetting a user: a tombstone first, so that nothing is sent any more, then all that MongoDB holds of him.

    tombstone ─▶ customer ─▶ targets ─▶ lists ─▶ opt-outs ─▶ ledger: a pseudonym in his place

The ledger's rows stay, so that figures and caps of the past stay right, but nobody can tell from them who it was:
they keep a salted hash of the user id, and neither content nor anything an event said. The opt-outs go as well: the
tombstone, under the same hash, stops more than they did. It never ends, also where the user id is imported again.

Everything may be repeated. An activation that was on its way meanwhile is written after all this has looked, or is
being sent right now; a second pass, some seconds later, finds its row.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from shared.contracts import Activation
from shared.mongodb import Document, translate_errors
from shared.signing import FORGOTTEN, pseudonym

REASON = FORGOTTEN
# What a row of the ledger keeps of an activation of somebody who is forgotten: everything else is dropped, also what
# is written to rows one day and not known here.
KEPT = (
    *("site", "user", "campaign", "ruleset", "channel", "variant", "event"),
    *("state", "reason", "attempts", "at", "due", "created", "updated"),
    *("converted", "delivered", "bounced", "complained", "rejected"),
    *("seen", "clicked", "dismissed", "failed"),
)
NOT_YET_SENT = ("held", "failed_retryable")
BY_USER = IndexModel([("site", ASCENDING), ("user", ASCENDING), ("at", DESCENDING)], name="by_user")


class Forgotten:
    """The tombstones: collection ``forgotten``, ``_id`` a pseudonym."""

    def __init__(self, rows: Collection[Document], secret: str) -> None:
        self._rows = rows
        self._secret = secret

    def has(self, site: str, user: str) -> bool:
        """Return whether *user* is forgotten; raises `Unavailable`."""
        with translate_errors():
            return self._rows.find_one({"_id": pseudonym(self._secret, site, user)}, {"_id": 1}) is not None

    def without_names(self, activations: Sequence[Activation]) -> list[Activation]:
        """Return *activations*; those of forgotten users suppressed, and with nothing in them that tells who it was.

        One call for all of them; raises `Unavailable`.
        """
        names = [pseudonym(self._secret, each.site, each.user) for each in activations]
        with translate_errors():
            gone = {row["_id"] for row in self._rows.find({"_id": {"$in": names}}, {"_id": 1})} if names else set()
        return [nameless(each, name) if name in gone else each for each, name in zip(activations, names, strict=True)]


def nameless(activation: Activation, name: str) -> Activation:
    """Return *activation* of somebody who is forgotten: suppressed, under the pseudonym *name*."""
    return msgspec.structs.replace(
        activation, user=name, message_id="", attributes={}, per=None, suppressed=activation.suppressed or REASON
    )


def forget(database: Database[Document], secret: str, site: str, user: str) -> dict[str, int]:
    """Forget *user*; return how many rows that changed, by kind: all 0 where nothing was left. May be repeated.

    Raises `Unavailable`: then it has to be repeated.
    """
    database = database.with_options(write_concern=WriteConcern("majority"))
    name = pseudonym(secret, site, user)
    with translate_errors():
        return {
            "tombstone": _bury(database, site, name),
            "customer": database.customers.delete_one({"_id": f"{site}:{user}"}).deleted_count,
            "targets": _untarget(database, site, user),
            "lists": _unlist(database, site, user),
            "optouts": database.optouts.delete_one({"_id": f"{site}:{user}"}).deleted_count,
            "ledger": _rename(database.activations, site, user, name),
        }


def _bury(database: Database[Document], site: str, name: str) -> int:
    made = database.forgotten.update_one(
        {"_id": name}, [{"$set": {"site": site, "at": {"$ifNull": ["$at", "$$NOW"]}}}], upsert=True
    )
    return int(made.upserted_id is not None)


def _untarget(database: Database[Document], site: str, user: str) -> int:
    """Take *user* out of all generations, also of one that is being written."""
    generation = re.compile(rf"targets_{re.escape(site)}_\d+")
    names = database.list_collection_names(filter={"name": {"$regex": f"^{generation.pattern}$"}})
    return sum(database[each].delete_one({"_id": user}).deleted_count for each in names)


def _unlist(database: Database[Document], site: str, user: str) -> int:
    return database.list_members.delete_many({"_id.site": site, "_id.user": user}).deleted_count


def _rename(ledger: Collection[Document], site: str, user: str, name: str) -> int:
    ledger.create_indexes([BY_USER])
    is_waiting: Any = {"$in": ["$state", list(NOT_YET_SENT)]}
    changes: Document = {
        "user": name,
        "state": {"$cond": [is_waiting, "suppressed", "$state"]},
        "reason": {"$cond": [is_waiting, REASON, "$reason"]},
    }
    # Rows that have the pseudonym already, too: a delivery under way may have added to one what its provider said.
    return ledger.update_many(
        {"site": site, "user": {"$in": [user, name]}},
        [{"$set": changes}, {"$project": dict.fromkeys(KEPT, 1)}],
    ).modified_count
