"""Whether a user is still a target of a campaign: asked again just before a delayed delivery."""

from pymongo.database import Database

from shared.contracts import ANONYMOUS_PREFIX
from shared.mongodb import Document, guarded, targets_collection


class MongoTargets:
    """The targets collections. Visitors without a user id, and sites never refreshed, cost no call."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def is_target(self, site: str, generation: int, user: str, campaign: str) -> bool:
        """Return whether *user* is a target of *campaign* in *generation* of the site's targets."""
        if generation == 0 or user.startswith(ANONYMOUS_PREFIX):
            return False
        with guarded():
            rows = self._database[targets_collection(site, generation)]
            return rows.find_one({"_id": user, "campaigns": campaign}, {"_id": 1}) is not None
