"""Import customers: row by row, into the collection ``customers``, in bulks and in flat memory.

    read ─▶ types of what is new ─▶ typed ─▶ opt-outs ─▶ customers      while one bulk is written, the next is read

Opt-outs are written before the addresses they are about: an import that dies leaves nobody who may be sent to and
must not be. Importing a file twice, or the rest of it after an interruption, changes nothing that is right already.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Self

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from opportune.customers.attributes import Attributes
from opportune.customers.lines import Broken
from opportune.customers.rows import Reject, Row, Rows
from opportune.customers.values import Type
from shared.mongodb import Document, guarded
from shared.optouts import OptOuts

BULK = 1000
SAMPLE = 10_000  # rows that are read before the types of new attributes are settled
Progress = Callable[[int], None]


@dataclass
class Imported:
    """What became of the rows. ``accepted``, ``rejected``: rows; ``new``, ``changed``, newly ``opted_out``: customers.

    ``learned``: the types of attributes that were new.
    """

    accepted: int = 0
    new: int = 0
    changed: int = 0
    opted_out: int = 0
    rejected: int = 0
    learned: dict[str, Type] = field(default_factory=dict)


def import_customers(
    rows: Rows,
    database: Database[Document],
    site: str,
    *,
    rejected: Callable[[Reject], None],
    progress: Progress = lambda _: None,
) -> Imported:
    """Write the customers in *rows* to *database*; what cannot be written goes to *rejected*, in order.

    An attribute that a row has replaces the stored one; an attribute that it has not stays. *progress* is called
    with every bulk, with the bytes read of the file so far. Raises `Unavailable` when the database does not answer.
    """
    imported = Imported()
    attributes = Attributes(database, site)
    writer = _Writer(database, site, imported)

    def refuse(reject: Reject) -> None:
        imported.rejected += 1
        rejected(reject)

    found = rows.found
    ahead = list(islice(found, SAMPLE))
    attributes.learn(_good(ahead), untyped=rows.untyped)
    found = chain(ahead, found)
    with writer:
        while bulk := list(islice(found, BULK)):
            attributes.learn(_good(bulk), untyped=rows.untyped)
            writer.write(list(_typed(bulk, attributes, refuse)))
            progress(rows.bytes_read())
    imported.learned = attributes.learned
    return imported


def _good(bulk: list[Row | Reject]) -> Iterator[Row]:
    return (row for row in bulk if isinstance(row, Row))


def _typed(bulk: list[Row | Reject], attributes: Attributes, refuse: Callable[[Reject], None]) -> Iterator[Row]:
    for row in bulk:
        if isinstance(row, Reject):
            refuse(row)
            continue
        try:
            yield row._replace(attributes=attributes.typed(row))
        except Broken as error:
            refuse(Reject(row.records, str(error)))


class _Writer:
    """Writes one bulk while the next one is made; never two at once: of two rows of a user the later must win."""

    def __init__(self, database: Database[Document], site: str, imported: Imported) -> None:
        self._customers = database.customers.with_options(write_concern=WriteConcern("majority"))
        self._opt_outs = OptOuts(database.optouts)
        self._site = site
        self._imported = imported
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        with guarded():
            self._customers.create_index("site")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._thread.shutdown()

    def write(self, rows: list[Row]) -> None:
        """Have *rows* written when the bulk before them is."""
        self._wait()
        self._last = self._thread.submit(self._write, rows)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def _write(self, rows: list[Row]) -> None:
        if not rows:
            return
        imported = self._imported
        imported.opted_out += self._opt_outs.add_all(
            self._site, {row.user: row.opted_out for row in rows if row.opted_out}, "imported"
        )
        with guarded():
            written = self._customers.bulk_write(list(_upserts(self._site, rows)), ordered=False)
        imported.accepted += len(rows)
        imported.new += written.upserted_count
        imported.changed += written.modified_count


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
