"""Whether a user is still a target of a campaign: asked again just before a delayed delivery."""

from pymongo.database import Database

from shared import groups
from shared.contracts import ANONYMOUS_PREFIX
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import Campaign


class MongoTargets:
    """The targets collections. Visitors without a user id, and sites never refreshed, cost no call."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool:
        """Return whether *user* is a target of *campaign* in *generation* of the site's targets."""
        if generation == 0 or user.startswith(ANONYMOUS_PREFIX):
            return False
        with translate_errors():
            row = self._database[targets_collection(site, generation)].find_one({"_id": user})
        return row is not None and groups.is_target(campaign, row["groups"])
