"""The MongoDB client, and the one place that knows where rulesets and pointers lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from shared.errors import Unavailable
from shared.ruleset import Ruleset

Document = dict[str, Any]


class Pointer(NamedTuple):
    """What is current for a site: versions of its ruleset and of its targets (0: never made)."""

    ruleset: int
    generation: int


def database(url: str, name: str) -> Database[Document]:
    """Return the database; nothing is connected yet. Sized for a function: few connections, short waits."""
    client: MongoClient[Document] = MongoClient(
        url,
        maxPoolSize=8,
        serverSelectionTimeoutMS=2000,
        connectTimeoutMS=2000,
        socketTimeoutMS=5000,
        maxIdleTimeMS=60_000,
        w="majority",
        tz_aware=True,
    )
    return client[name]


@contextmanager
def guarded() -> Iterator[None]:
    """Turn a driver's error into `Unavailable`."""
    try:
        yield
    except PyMongoError as error:
        raise Unavailable(f"MongoDB: {type(error).__name__}", code="database_unavailable") from error


def pointers(database: Database[Document]) -> dict[str, Pointer]:
    """Return the pointer of every site."""
    with guarded():
        rows = list(database.control.find({}))
    return {row["_id"]: Pointer(row.get("ruleset", 0), row.get("generation", 0)) for row in rows}


def ruleset(database: Database[Document], site: str, version: int) -> Ruleset:
    """Return a published ruleset; raises `Unavailable` where it is not there (yet)."""
    with guarded():
        row = database.rulesets.find_one({"_id": f"{site}:{version}"})
    if row is None:
        raise Unavailable(f"ruleset {site}:{version} is not in the database", code="ruleset_missing")
    try:
        return msgspec.convert(row["ruleset"], Ruleset)
    except msgspec.ValidationError as error:
        raise Unavailable(f"ruleset {site}:{version} cannot be read: {error}", code="ruleset_unreadable") from error


def targets_collection(site: str, generation: int) -> str:
    """Return the name of the collection that holds one generation of a site's targets."""
    return f"targets_{site}_{generation}"
