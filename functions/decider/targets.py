"""The targets collection, read once per user and generation; the row in Redis keeps what follows from it."""

from typing import Protocol

from pymongo.database import Database

from shared.contracts import ANONYMOUS_PREFIX
from shared.mongodb import Document, targets_collection, translate_errors


class Targets(Protocol):
    """Which rules and lists of target groups a user was found in."""

    def groups(self, site: str, generation: int, user: str) -> list[str]: ...


class MongoTargets:
    """`Targets` in MongoDB. Visitors without a user id, and sites never refreshed, cost no call."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def groups(self, site: str, generation: int, user: str) -> list[str]:
        """Return the target groups whose rule or list *user* was found in."""
        if generation == 0 or user.startswith(ANONYMOUS_PREFIX):
            return []
        with translate_errors():
            row = self._database[targets_collection(site, generation)].find_one({"_id": user})
        return list(row["groups"]) if row else []
