"""Customers' attributes, read for one activation at a time."""

from typing import Any

from pymongo.collection import Collection

from shared.contracts import ANONYMOUS_PREFIX
from shared.mongodb import Document, translate_errors


class MongoCustomers:
    """The collection ``customers``. Visitors without a user id are not in it, so they cost no call."""

    def __init__(self, rows: Collection[Document]) -> None:
        self._rows = rows

    def attributes(self, site: str, user: str) -> dict[str, Any] | None:
        """Return the attributes of *user*, ``None`` for an unknown user; raises `Unavailable`."""
        if user.startswith(ANONYMOUS_PREFIX):
            return None
        with translate_errors():
            row = self._rows.find_one({"_id": f"{site}:{user}"}, {"attributes": 1})
        return None if row is None else row.get("attributes", {})
