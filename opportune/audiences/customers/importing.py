"""Import customers: row by row, into the collection ``customers``, in bulks and in flat memory.

    read ─▶ types of what is new ─▶ typed ─▶ opt-outs ─▶ customers      while one bulk is written, the next is read

Opt-outs are written before the addresses they are about: an import that dies leaves nobody who may be sent to and
must not be. Importing a file twice, or the rest of it after an interruption, changes nothing that is right already.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Self

import bson
from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from opportune.audiences.customers.attributes import Attributes
from opportune.audiences.customers.lines import Broken
from opportune.audiences.customers.rows import Reject, Row, Rows
from opportune.audiences.customers.values import Type
from shared.mongodb import Document, translate_errors
from shared.mongodb_errors import is_too_large
from shared.optouts import OptOuts

BULK = 1000
SAMPLE = 10_000  # rows that are read before the types of new attributes are settled
LARGEST = 16_000_000  # bytes of a customer; MongoDB takes a little more
LARGE = 1_000_000  # characters of a user's rows in a bulk, from which on it is looked at
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

    def refuse(reject: Reject) -> None:
        imported.rejected += 1
        rejected(reject)

    writer = _Writer(database, site, imported, refuse)

    found = rows.found
    ahead = list(islice(found, SAMPLE))
    attributes.learn(_good(ahead), untyped=rows.untyped)
    found = chain(ahead, found)
    with writer:
        while bulk := list(islice(found, BULK)):
            attributes.learn(_good(bulk), untyped=rows.untyped)
            refused: list[Row] = []
            typed = list(_typed(bulk, attributes, refuse, refused))
            writer.write(typed, refused)
            progress(rows.bytes_read())
    imported.learned = attributes.learned
    return imported


def _good(bulk: list[Row | Reject]) -> Iterator[Row]:
    return (row for row in bulk if isinstance(row, Row))


def _typed(
    bulk: list[Row | Reject], attributes: Attributes, refuse: Callable[[Reject], None], refused: list[Row]
) -> Iterator[Row]:
    for row in bulk:
        if isinstance(row, Reject):
            refuse(row)
            continue
        try:
            yield row._replace(attributes=attributes.typed(row))
        except Broken as error:
            refuse(Reject(row.records, str(error)))
            refused.append(row)


class _Writer:
    """Writes one bulk while the next one is made; never two at once: of two rows of a user the later must win."""

    def __init__(
        self, database: Database[Document], site: str, imported: Imported, refuse: Callable[[Reject], None]
    ) -> None:
        self._customers = database.customers.with_options(write_concern=WriteConcern("majority"))
        self._opt_outs = OptOuts(database.optouts)
        self._site = site
        self._imported = imported
        self._refuse = refuse
        self._too_large: list[Row] = []
        self._thread = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        with translate_errors():
            self._customers.create_index("site")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._thread.shutdown()

    def write(self, rows: list[Row], refused: list[Row]) -> None:
        """Have *rows* written when the bulk before them is; of *refused* only what they have opted out of."""
        self._wait()
        self._last = self._thread.submit(self._write, rows, refused)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
        for row in self._too_large:
            self._refuse(Reject(row.records, "the customer would be larger than 16 MB"))
        self._too_large.clear()

    def _write(self, rows: list[Row], refused: list[Row]) -> None:
        # An attribute that does not fit is no reason to go on writing to somebody.
        self._opt_out([*rows, *refused])
        rows = self._without_large(rows)
        with translate_errors():
            try:
                self._upsert(rows)
            except BulkWriteError as error:
                if not is_too_large(error):
                    raise
                self._one_by_one(rows)

    def _opt_out(self, rows: list[Row]) -> None:
        channels: dict[str, set[str]] = {}
        for row in rows:
            if row.opted_out:
                channels.setdefault(row.user, set()).update(row.opted_out)
        self._imported.opted_out += self._opt_outs.add_all(self._site, channels, "imported")

    def _without_large(self, rows: list[Row]) -> list[Row]:
        """Return *rows* less those that come to too much for one customer: they cannot even be asked for."""
        characters: Counter[str] = Counter()
        for row in rows:
            characters[row.user] += sum(len(record.text) for record in row.records)
        suspects = {user for user, number in characters.items() if number > LARGE}
        large = {
            user
            for user, attributes in (_merged(row for row in rows if row.user in suspects) if suspects else {}).items()
            if len(bson.encode(attributes)) > LARGEST
        }
        self._too_large += [row for row in rows if row.user in large]
        return [row for row in rows if row.user not in large]

    def _upsert(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            written = self._customers.bulk_write(list(_upserts(self._site, rows)), ordered=False)
        except BulkWriteError as error:
            self._count(error.details["nUpserted"], error.details["nModified"])
            raise
        self._imported.accepted += len(rows)
        self._count(written.upserted_count, written.modified_count)

    def _one_by_one(self, rows: list[Row]) -> None:
        """Write the customers of *rows* one after the other: one is too large, and need not stop the others."""
        for user in dict.fromkeys(row.user for row in rows):
            theirs = [row for row in rows if row.user == user]
            try:
                self._upsert(theirs)
            except BulkWriteError as error:
                if not is_too_large(error):
                    raise
                self._too_large += theirs

    def _count(self, new: int, changed: int) -> None:
        self._imported.new += new
        self._imported.changed += changed


def _merged(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Return the attributes of each user; where a user comes twice the later row wins, attribute by attribute."""
    users: dict[str, dict[str, Any]] = {}
    for row in rows:
        users.setdefault(row.user, {}).update(row.attributes)
    return users


def _upserts(site: str, rows: list[Row]) -> Iterator[UpdateOne]:
    """Yield one update per user."""
    for user, attributes in _merged(rows).items():
        first: Document = {"site": site, "user": user}
        if attributes:
            changes = {f"attributes.{name}": value for name, value in attributes.items()}
            yield UpdateOne({"_id": f"{site}:{user}"}, {"$set": changes, "$setOnInsert": first}, upsert=True)
        else:
            first["attributes"] = {}
            yield UpdateOne({"_id": f"{site}:{user}"}, {"$setOnInsert": first}, upsert=True)
