"""The MongoDB client, and the one place that knows where rulesets and pointers lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import msgspec
from bson import Int64, MaxKey, MinKey
from bson.codec_options import TypeDecoder, TypeRegistry
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError, PyMongoError

from shared.errors import Unavailable
from shared.mongodb_errors import no_address, unavailable
from shared.ruleset import Ruleset, TargetGroup

Document = dict[str, Any]
T = TypeVar("T")


class _WholeNumbers(TypeDecoder):
    """Reads a number of 64 bits as any other: the driver's own class for it can be encoded by nobody else."""

    bson_type = Int64

    def transform_bson(self, value: Int64) -> int:
        """Return *value* as Python's own."""
        return int(value)


TYPES = TypeRegistry([_WholeNumbers()])  # for every client


class Pointer(NamedTuple):
    """What is current for a site: versions of its ruleset and of its targets (0: never made)."""

    ruleset: int
    generation: int


def database(url: str, name: str, *, answer_ms: int = 5000) -> Database[Document]:
    """Return the database; nothing is connected yet. Sized for a function: few connections, short waits.

    *answer_ms*: how long an answer may take. Raises as `connect` does.
    """
    client = connect(
        url,
        maxPoolSize=8,
        serverSelectionTimeoutMS=2000,
        connectTimeoutMS=2000,
        socketTimeoutMS=answer_ms,
        maxIdleTimeMS=60_000,
    )
    return client[name]


def connect(url: str, **options: Any) -> MongoClient[Document]:
    """Return a client of ours, with *options* of the driver's; nothing is connected yet.

    Raises `InvalidSettings` for an address that is none, whose message quotes nothing of it, and `Unavailable` where a
    ``mongodb+srv://`` address leads nowhere.
    """
    try:
        return MongoClient(url, w="majority", tz_aware=True, type_registry=TYPES, **options)
    except (ConfigurationError, ValueError) as error:
        raise no_address(error) from None  # the driver's text may quote a part of the password


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn a driver's error into `Unavailable`."""
    try:
        yield
    except PyMongoError as error:
        raise unavailable(error) from error


def pointers(database: Database[Document]) -> dict[str, Pointer]:
    """Return the pointer of every site."""
    with translate_errors():
        rows = list(database.control.find({}, {"ruleset": 1, "generation": 1}))
    return {row["_id"]: Pointer(row.get("ruleset", 0), row.get("generation", 0)) for row in rows}


def ruleset(database: Database[Document], site: str, version: int) -> Ruleset:
    """Return a published ruleset; raises `Unavailable` where it is not there (yet)."""
    return _convert(site, version, _row(database, site, version, "ruleset").get("ruleset"), Ruleset)


def target_groups(database: Database[Document], site: str, version: int) -> dict[str, TargetGroup]:
    """Return the target groups of a published version, by id; raises like `ruleset`."""
    rows = _row(database, site, version, "groups").get("groups", [])
    return {group.id: group for group in _convert(site, version, rows, list[TargetGroup])}


def _row(database: Database[Document], site: str, version: int, part: str) -> Document:
    with translate_errors():
        row = database.rulesets.find_one({"_id": f"{site}:{version}"}, {part: 1})
    if row is None:
        raise Unavailable(f"ruleset {site}:{version} is not in the database", code="ruleset_missing")
    return row


def _convert(site: str, version: int, value: Any, form: type[T]) -> T:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise Unavailable(f"ruleset {site}:{version} cannot be read: {error}", code="ruleset_unreadable") from error


def in_list(site: str, name: str) -> Document:
    """Return the filter, served by the index of ``_id``, of the rows of ``list_members`` in list *name*."""
    ends = ({"site": site, "list": name, "user": end} for end in (MinKey(), MaxKey()))
    return {"_id": dict(zip(("$gt", "$lt"), ends, strict=True))}


def targets_collection(site: str, generation: int) -> str:
    """Return the name of the collection that holds one generation of a site's targets."""
    return f"targets_{site}_{generation}"
