"""Import customers: a CSV or NDJSON file, line by line, into the collection ``customers``.

Good rows go in, in bulks; broken ones are handed back with their row number and the reason. Importing a
file twice, or the rest of it after an interruption, changes nothing that is already right.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from opportune.customer_rows import Reject, Row, open_rows
from shared.mongodb import Document, guarded

BULK = 1000
Progress = Callable[[int], None]


class Imported(NamedTuple):
    """How many rows went in, and which did not. Row 1 is the first line (of a CSV: its header)."""

    accepted: int
    rejected: list[Reject]


def import_customers(
    path: Path,
    database: Database[Document],
    site: str,
    *,
    id_column: str = "user_id",
    progress: Progress = lambda _: None,
) -> Imported:
    """Write the customers in *path* (.csv, .ndjson, .jsonl; each also .gz) to *database*.

    An attribute that a row has replaces the stored one; an attribute that it has not stays. *progress* is
    called after every bulk with the bytes read of the file so far. Raises `InvalidRequest` for a file that
    cannot be read as what its name says, `Unavailable` when the database does not answer.
    """
    customers = database.customers.with_options(write_concern=WriteConcern("majority"))
    accepted, rejected = 0, list[Reject]()
    with open_rows(path, id_column) as rows, guarded():
        customers.create_index("site")
        parsed = iter(rows)
        while bulk := list(islice(parsed, BULK)):
            good = [row for row in bulk if isinstance(row, Row)]
            rejected.extend(row for row in bulk if isinstance(row, Reject))
            if good:
                customers.bulk_write(list(_upserts(site, good)), ordered=False)
                accepted += len(good)
            progress(rows.bytes_read())
    return Imported(accepted, rejected)


def _upserts(site: str, rows: list[Row]) -> Iterator[UpdateOne]:
    """Yield one update per user; where a user comes twice the later row wins, attribute by attribute."""
    users: dict[str, dict[str, Any]] = {}
    for row in rows:
        users.setdefault(row.user, {}).update(row.attributes)
    for user, attributes in users.items():
        first: Document = {"site": site, "user": user}
        if attributes:
            changes = {f"attributes.{name}": value for name, value in attributes.items()}
            yield UpdateOne({"_id": f"{site}:{user}"}, {"$set": changes, "$setOnInsert": first}, upsert=True)
        else:
            first["attributes"] = {}
            yield UpdateOne({"_id": f"{site}:{user}"}, {"$setOnInsert": first}, upsert=True)
