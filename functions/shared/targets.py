"""The targets collections in MongoDB: which target groups a refresh found each user in."""

from pymongo.database import Database

from shared import groups
from shared.contracts import ANONYMOUS_PREFIX
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import Campaign


class MongoTargets:
    """Reads one user's row. Visitors without a user id, and sites that were never refreshed, cost no call.

    Both methods raise `Unavailable`.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def groups(self, site: str, generation: int, user: str) -> list[str]:
        """Return the target groups whose rule or list *user* was found in; an empty list for an unknown user."""
        if generation == 0 or user.startswith(ANONYMOUS_PREFIX):
            return []
        with translate_errors():
            row = self._database[targets_collection(site, generation)].find_one({"_id": user})
        return list(row["groups"]) if row else []

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool:
        """Return whether *user* is a target of *campaign* in *generation* of the site's targets."""
        found = self.groups(site, generation, user)
        return bool(found) and groups.is_target(campaign, found)
