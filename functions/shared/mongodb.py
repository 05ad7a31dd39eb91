"""The MongoDB client, and access to rulesets and to the pointers of sites."""

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
from shared.mongodb_errors import to_connect_error, to_unavailable
from shared.ruleset import Ruleset, TargetGroup

Document = dict[str, Any]
T = TypeVar("T")


class _IntegerDecoder(TypeDecoder):
    """Decodes 64-bit integers as `int`, because no other encoder accepts the driver's own class."""

    bson_type = Int64

    def transform_bson(self, value: Int64) -> int:
        """Return *value* as an `int`."""
        return int(value)


TYPE_REGISTRY = TypeRegistry([_IntegerDecoder()])  # for every client


class Pointer(NamedTuple):
    """The current versions of a site's ruleset and of its targets; 0 before the first one."""

    ruleset: int
    generation: int


def database(url: str, name: str, *, answer_ms: int = 5000) -> Database[Document]:
    """Return the database, with few connections and short timeouts, as a function needs them. Connects at first use.

    answer_ms: how long a response may take.

    Raises the errors of `connect`.
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
    """Return a client with the project's defaults and the driver's *options*. It connects at first use.

    Raises `InvalidSettings` for an invalid address, without quoting it, and `Unavailable` if the DNS does not know the
    host of a ``mongodb+srv://`` address.
    """
    try:
        return MongoClient(url, w="majority", tz_aware=True, type_registry=TYPE_REGISTRY, **options)
    except (ConfigurationError, ValueError) as error:
        raise to_connect_error(error) from None  # the driver's message may quote a part of the password


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn an error of the driver into `Unavailable`."""
    try:
        yield
    except PyMongoError as error:
        raise to_unavailable(error) from error


def read_pointers(database: Database[Document]) -> dict[str, Pointer]:
    """Return the pointer of every site."""
    with translate_errors():
        rows = list(database.control.find({}, {"ruleset": 1, "generation": 1}))
    return {row["_id"]: Pointer(row.get("ruleset", 0), row.get("generation", 0)) for row in rows}


def read_ruleset(database: Database[Document], site: str, version: int) -> Ruleset:
    """Return a published ruleset; raise `Unavailable` if it is not in the database (yet)."""
    return _convert(site, version, _read_row(database, site, version, "ruleset").get("ruleset"), Ruleset)


def read_target_groups(database: Database[Document], site: str, version: int) -> dict[str, TargetGroup]:
    """Return the target groups of a published version by id; raise `Unavailable` like `read_ruleset`."""
    rows = _read_row(database, site, version, "groups").get("groups", [])
    return {group.id: group for group in _convert(site, version, rows, list[TargetGroup])}


def _read_row(database: Database[Document], site: str, version: int, part: str) -> Document:
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


def filter_list_members(site: str, name: str) -> Document:
    """Return the filter for the members of list *name* in ``list_members``. It uses the index of ``_id``."""
    ends = ({"site": site, "list": name, "user": end} for end in (MinKey(), MaxKey()))
    return {"_id": dict(zip(("$gt", "$lt"), ends, strict=True))}


def targets_collection(site: str, generation: int) -> str:
    """Return the name of the collection that holds one generation of a site's targets."""
    return f"targets_{site}_{generation}"
