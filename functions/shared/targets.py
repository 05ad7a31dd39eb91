"""The targets collections in MongoDB: which target groups a refresh found each user in.

    targets_<site>_<generation>: {_id: 0} the marker, {_id: user, groups} a user

A reader may hold an old pointer. The Refresher drops a generation only long after its pointer moved on, and a reader
that is even later finds no marker. It must then look the pointer up again: a missing collection says nothing about a
user. The marker and the user are read by one query.
"""

from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

from shared import groups
from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import Unavailable
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import Campaign

MARKER_ID = 0  # user ids are text
ONLY_USERS: Document = {"_id": {"$gte": ""}}


class GenerationDropped(Unavailable):
    """The generation was dropped: look up which one is current."""

    code = "targets_dropped"


def create_generation(database: Database[Document], name: str) -> None:
    """Create an empty generation, replacing a collection of that *name*."""
    database.drop_collection(name)
    database[name].insert_one({"_id": MARKER_ID})


class MongoTargets:
    """Reads one user's row. Visitors without a user id, and sites that were never refreshed, cost no call.

    Both methods raise `GenerationDropped` and `Unavailable`.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def groups(self, site: str, generation: int, user: str) -> list[str]:
        """Return the target groups whose rule or list *user* was found in; an empty list for an unknown user."""
        if generation == 0 or user.startswith(ANONYMOUS_PREFIX):
            return []
        collection: Collection[Any] = self._database[targets_collection(site, generation)]
        with translate_errors():
            rows = {row["_id"]: row for row in collection.find({"_id": {"$in": [MARKER_ID, user]}})}
        if MARKER_ID not in rows:
            raise GenerationDropped(f"generation {generation} of the targets of {site} was dropped")
        return list(rows[user]["groups"]) if user in rows else []

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool:
        """Return whether *user* is a target of *campaign* in *generation* of the site's targets."""
        found = self.groups(site, generation, user)
        return bool(found) and groups.is_target(campaign, found)
