"""Forget a user: write a tombstone, so that nothing more is sent, then erase the user's data from MongoDB.

    tombstone ─▶ customer ─▶ targets ─▶ lists ─▶ opt-outs ─▶ ledger: the user id becomes a pseudonym

Ledger rows stay, because past figures and caps depend on them. They keep a salted hash of the user id, and neither
content nor event attributes. Opt-outs are erased too: the tombstone, under the same hash, stops more than they did. It
never expires, and still holds if the user id is imported again.

Every step may be repeated. An activation that is being sent meanwhile can add its row after the first pass. A second
pass, some seconds later, finds it.
"""

import re

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from engager.ledger.recalls import recall
from shared.mongodb import Document, translate_errors
from shared.signing import FORGOTTEN, pseudonym

# The fields that a forgotten user's ledger rows keep. All others are dropped, so a field added later is dropped too.
KEPT = (
    *("site", "user", "campaign", "ruleset", "channel", "variant", "event"),
    *("state", "reason", "recalled", "attempts", "at", "due", "created", "updated"),
    *("converted", "delivered", "bounced", "complained", "rejected"),
    *("seen", "clicked", "dismissed", "failed"),
)
BY_USER = IndexModel([("site", ASCENDING), ("user", ASCENDING), ("at", DESCENDING)], name="by_user")


def forget(database: Database[Document], secret: str, site: str, user: str) -> dict[str, int]:
    """Forget *user* and return how many rows changed, by kind. All are 0 once nothing is left.

    May be repeated. Raises `Unavailable`: then it has to be repeated.
    """
    database = database.with_options(write_concern=WriteConcern("majority"))
    name = pseudonym(secret, site, user)
    with translate_errors():
        return {
            "tombstone": _write_tombstone(database, site, name),
            "customer": database.customers.delete_one({"_id": f"{site}:{user}"}).deleted_count,
            "targets": _delete_targets(database, site, user),
            "lists": _delete_list_members(database, site, user),
            "optouts": database.optouts.delete_one({"_id": f"{site}:{user}"}).deleted_count,
            "ledger": _pseudonymise_ledger(database.activations, site, user, name),
        }


def _write_tombstone(database: Database[Document], site: str, name: str) -> int:
    written = database.forgotten.update_one(
        {"_id": name}, [{"$set": {"site": site, "at": {"$ifNull": ["$at", "$$NOW"]}}}], upsert=True
    )
    return int(written.upserted_id is not None)


def _delete_targets(database: Database[Document], site: str, user: str) -> int:
    """Delete *user* from every generation, including one that a refresh is writing."""
    generation = re.compile(rf"targets_{re.escape(site)}_\d+")
    names = database.list_collection_names(filter={"name": {"$regex": f"^{generation.pattern}$"}})
    return sum(database[each].delete_one({"_id": user}).deleted_count for each in names)


def _delete_list_members(database: Database[Document], site: str, user: str) -> int:
    return database.list_members.delete_many({"_id.site": site, "_id.user": user}).deleted_count


def _pseudonymise_ledger(ledger: Collection[Document], site: str, user: str, name: str) -> int:
    ledger.create_indexes([BY_USER])
    changes = recall(FORGOTTEN, "$$NOW", replaces_lost=True)
    # Include rows that have the pseudonym: a delivery in progress may have added the provider's answer to one.
    return ledger.update_many(
        {"site": site, "user": {"$in": [user, name]}},
        [{"$set": changes | {"user": name}}, {"$project": dict.fromkeys(KEPT, 1)}],
    ).modified_count
