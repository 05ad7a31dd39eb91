"""Store lists of users. A list is written once, under a name that is a hash of its members, and never changes.

    write the members ─▶ note in ``lists`` that they are complete ─▶ a version of the definitions names the list

A version therefore only names complete lists, and versions share a list that has not changed. A process that dies
before the last step leaves a list that no version names. The next attempt to write that list completes it.
"""

from collections.abc import Iterable
from typing import Any

from pymongo.database import Database
from pymongo.errors import BulkWriteError

from definitions.compiler.groups import list_name
from shared.mongodb import Document, translate_errors

BATCH = 5000
DUPLICATE_KEY = 11000


def write(database: Database[Document], site: str, users: Iterable[str]) -> str:
    """Write the list of *users*, unless it is complete already; return its name."""
    unique = sorted(set(users))
    name = list_name(unique)
    key = {"_id": f"{site}:{name}"}
    with translate_errors():
        if database.lists.find_one(key) is None:
            for first in range(0, len(unique), BATCH):
                batch = unique[first : first + BATCH]
                _insert(database, [{"_id": {"site": site, "list": name, "user": user}} for user in batch])
            complete = {"site": site, "list": name, "users": len(unique)}
            database.lists.update_one(key, {"$setOnInsert": complete}, upsert=True)
    return name


def _insert(database: Database[Document], rows: list[dict[str, Any]]) -> None:
    try:
        database.list_members.insert_many(rows, ordered=False)
    except BulkWriteError as error:
        # An earlier or parallel attempt wrote some members of the same list.
        if any(each["code"] != DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise
