"""Lists of users: written once under a name made from their members, and never changed afterwards.

    write the members ─▶ note in ``lists`` that they are complete ─▶ a version of the definitions names the list

So a version that names a list names all of it, and a list that two versions share is written once. Who dies in
between has left a list that nobody names; whoever writes the same one goes on where that one stopped.
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
    """Write the list of *users*, unless it is there already; return its name."""
    unique = sorted(set(users))
    written = list_name(unique)
    key = {"_id": f"{site}:{written}"}
    with translate_errors():
        if database.lists.find_one(key) is None:
            for first in range(0, len(unique), BATCH):
                batch = unique[first : first + BATCH]
                _insert(database, [{"_id": {"site": site, "list": written, "user": user}} for user in batch])
            complete = {"site": site, "list": written, "users": len(unique)}
            database.lists.update_one(key, {"$setOnInsert": complete}, upsert=True)
    return written


def _insert(database: Database[Document], rows: list[dict[str, Any]]) -> None:
    try:
        database.list_members.insert_many(rows, ordered=False)
    except BulkWriteError as error:
        # Somebody writes, or has begun to write, the very same list.
        if any(each["code"] != DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise
