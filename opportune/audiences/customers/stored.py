"""What is stored of customers: one of them to look at, or all of them to take along.

An export has a line of JSON for everybody who is a customer or has opted out of something. It can be imported as it
is, also by another system: dates are ISO 8601, and nothing is in it that is not in MongoDB.
"""

import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec
from pymongo.collection import Collection
from pymongo.database import Database

from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document, translate_errors


class UnknownCustomer(OpportuneError):
    """Nobody of that id is stored."""

    code = "unknown_customer"
    status = 404


class Customer(NamedTuple):
    """``opted_out``: when and why, by channel."""

    user_id: str
    attributes: dict[str, Any]
    opted_out: dict[str, dict[str, Any]]

    def line(self) -> bytes:
        """Return the customer as a line of an export."""
        written = {"user_id": self.user_id, "attributes": self.attributes, "opted_out": sorted(self.opted_out)}
        if not self.opted_out:
            del written["opted_out"]
        return msgspec.json.encode(written, enc_hook=str) + b"\n"


def customer(database: Database[Document], site: str, user: str) -> Customer:
    """Return one customer; raises `UnknownCustomer`, also for a forgotten one."""
    name = {"_id": f"{site}:{user}"}
    with translate_errors():
        row, opted_out = database.customers.find_one(name), database.optouts.find_one(name)
    if row is None and opted_out is None:
        raise UnknownCustomer(f"{site} has no customer {user!r}")
    return Customer(user, (row or {}).get("attributes", {}), (opted_out or {}).get("channels", {}))


def count(database: Database[Document], site: str) -> int:
    """Return about how many customers there are."""
    with translate_errors():
        return database.customers.count_documents({"site": site})


def customers(database: Database[Document], site: str) -> Iterator[Customer]:
    """Yield everybody, by user id, in flat memory: two walks over one order, side by side."""
    with translate_errors():
        rows, opt_outs = _walk(database.customers, site), _walk(database.optouts, site)
        row, opt_out = next(rows, None), next(opt_outs, None)
        while row is not None or opt_out is not None:
            name = min(each["_id"] for each in (row, opt_out) if each is not None)
            attributes, channels = {}, {}
            if row is not None and row["_id"] == name:
                attributes, row = row.get("attributes", {}), next(rows, None)
            if opt_out is not None and opt_out["_id"] == name:
                channels, opt_out = opt_out.get("channels", {}), next(opt_outs, None)
            yield Customer(name.removeprefix(f"{site}:"), attributes, channels)


def _walk(rows: Collection[Document], site: str) -> Iterator[Document]:
    # `;` comes after `:`, and neither is in the id of a site.
    return iter(rows.find({"_id": {"$gte": f"{site}:", "$lt": f"{site};"}}).sort("_id"))


@contextmanager
def target(path: Path | None) -> Iterator[BinaryIO]:
    """Open *path*, or standard output, to write an export; a file appears whole, or not at all."""
    if path is None:
        yield sys.stdout.buffer
        return
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(path.name, "wb", fileobj=raw) as packed:
                    yield cast("BinaryIO", packed)
            else:
                yield raw
        partial.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC").replace(" 00:00:00 UTC", "")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
