"""Read stored customers: one of them, or all of them for an export.

An export has a line of JSON for every user who is a customer or has opted out of a channel. Dates are ISO 8601.
Another system can import the file unchanged.
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
    """The site has no customer with this user id."""

    code = "unknown_customer"
    status = 404


class Customer(NamedTuple):
    """A stored customer. ``opted_out`` has the time and the reason by channel."""

    user_id: str
    attributes: dict[str, Any]
    opted_out: dict[str, dict[str, Any]]

    def to_line(self) -> bytes:
        """Return the customer as a line of an export."""
        fields = {"user_id": self.user_id, "attributes": self.attributes, "opted_out": sorted(self.opted_out)}
        if not self.opted_out:
            del fields["opted_out"]
        return msgspec.json.encode(fields, enc_hook=str) + b"\n"


def find_customer(database: Database[Document], site: str, user: str) -> Customer:
    """Return one customer; raise `UnknownCustomer` if it is not stored or has been erased."""
    key = {"_id": f"{site}:{user}"}
    with translate_errors():
        row, opt_outs = database.customers.find_one(key), database.optouts.find_one(key)
    if row is None and opt_outs is None:
        raise UnknownCustomer(f"{site} has no customer {user!r}")
    return Customer(user, (row or {}).get("attributes", {}), (opt_outs or {}).get("channels", {}))


def count_customers(database: Database[Document], site: str) -> int:
    """Return the number of customers, without users who have only opted out."""
    with translate_errors():
        return database.customers.count_documents({"site": site})


def all_customers(database: Database[Document], site: str) -> Iterator[Customer]:
    """Yield all customers in the order of their user ids.

    Customers and opt-outs are read in the same order side by side, so memory use stays constant.
    """
    with translate_errors():
        rows, opt_outs = _in_order(database.customers, site), _in_order(database.optouts, site)
        row, opt_out = next(rows, None), next(opt_outs, None)
        while row is not None or opt_out is not None:
            key = min(each["_id"] for each in (row, opt_out) if each is not None)
            attributes, channels = {}, {}
            if row is not None and row["_id"] == key:
                attributes, row = row.get("attributes", {}), next(rows, None)
            if opt_out is not None and opt_out["_id"] == key:
                channels, opt_out = opt_out.get("channels", {}), next(opt_outs, None)
            yield Customer(key.removeprefix(f"{site}:"), attributes, channels)


def _in_order(collection: Collection[Document], site: str) -> Iterator[Document]:
    # `;` follows `:` in ASCII, and a site id contains neither.
    return iter(collection.find({"_id": {"$gte": f"{site}:", "$lt": f"{site};"}}).sort("_id"))


@contextmanager
def open_output(path: Path | None) -> Iterator[BinaryIO]:
    """Open *path*, or standard output, for an export. The file appears only when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        return
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(path.name, "wb", fileobj=raw) as compressed:
                    yield cast("BinaryIO", compressed)
            else:
                yield raw
        partial.replace(path)
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def format_value(value: Any) -> str:
    """Return an attribute value as text for people."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC").replace(" 00:00:00 UTC", "")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict | list):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return str(value)
