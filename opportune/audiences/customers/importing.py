"""Import customers into the collection ``customers``, in bulks and in constant memory.

    read ─▶ learn new types ─▶ convert ─▶ write opt-outs ─▶ write customers

The next bulk is read while the last one is written. Opt-outs are written before addresses, so that an import that
dies never leaves a customer who can be sent to despite an opt-out. Repeating an import changes nothing that is
already correct.
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

from opportune.audiences.customers.attributes import AttributeTypes
from opportune.audiences.customers.lines import InvalidRecord
from opportune.audiences.customers.rows import Reject, Row, RowSource
from opportune.audiences.customers.values import Type
from shared.mongodb import Document, translate_errors
from shared.mongodb_errors import is_too_large
from shared.optouts import OptOuts

BULK = 1000  # rows
SAMPLE = 10_000  # rows read before the types of new attributes are stored
MAX_CUSTOMER_BYTES = 16_000_000  # slightly less than MongoDB's limit
SUSPECT_CHARACTERS = 1_000_000  # measure a customer if the rows of a bulk have more characters than this


@dataclass
class ImportResult:
    """The result of an import.

    accepted, rejected: the number of rows.
    new, changed: the number of customers.
    opted_out: the number of customers with new opt-outs.
    learned: the types of new attributes.
    widened: the attributes that were numbers and became text.
    unreachable: how many addresses no message can be sent to, by attribute.
    renamed: the columns that were read as another attribute.
    doubts: warnings about attributes that became text.
    """

    accepted: int = 0
    new: int = 0
    changed: int = 0
    opted_out: int = 0
    rejected: int = 0
    learned: dict[str, Type] = field(default_factory=dict)
    widened: list[str] = field(default_factory=list)
    unreachable: dict[str, int] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    def notes(self) -> Iterator[str]:
        """Yield a line for each thing that people should know about how the file was read."""
        for column, name in self.renamed.items():
            yield f"the column {column} was imported as {name}"
        for name in self.widened:
            yield f"{name} was a number and is text from now on, because the file has codes in it"
        for name, number in self.unreachable.items():
            yield f"unreachable: {number} {name}; SES cannot send to letters beyond ASCII before the @"
        for doubt in self.doubts:
            yield f"warning: {doubt}"


def import_customers(
    source: RowSource,
    database: Database[Document],
    site: str,
    *,
    on_reject: Callable[[Reject], None],
    progress: Callable[[int], None] = lambda _: None,
    locale: str = "",
) -> ImportResult:
    """Write the customers of *source* to *database*; pass rows that cannot be written to *on_reject*, in order.

    The attributes of a row replace the stored ones. Attributes that the row does not have stay. After each bulk,
    *progress* is called with the bytes of the file read so far. Raise `Unavailable` if the database is not available.
    """
    result = ImportResult()
    types = AttributeTypes(database, site, locale)

    def reject(rejected: Reject) -> None:
        result.rejected += 1
        on_reject(rejected)

    sample = list(islice(source.rows, SAMPLE))
    types.learn(_without_rejects(sample), untyped=source.untyped)
    rows = chain(sample, source.rows)
    with _BulkWriter(database, site, result, reject) as writer:
        while bulk := list(islice(rows, BULK)):
            types.learn(_without_rejects(bulk), untyped=source.untyped)
            rejected: list[Row] = []
            converted = list(_convert(bulk, types, reject, rejected))
            writer.write(converted, rejected)
            progress(source.bytes_read())
    result.learned = types.learned
    result.widened = types.widened
    result.unreachable = dict(types.unreachable)
    result.renamed = dict(source.renamed)
    result.doubts = types.doubts
    return result


def _without_rejects(bulk: list[Row | Reject]) -> Iterator[Row]:
    return (row for row in bulk if isinstance(row, Row))


def _convert(
    bulk: list[Row | Reject], types: AttributeTypes, reject: Callable[[Reject], None], rejected: list[Row]
) -> Iterator[Row]:
    """Yield the rows with converted attributes; add those that cannot be converted to *rejected*."""
    for row in bulk:
        if isinstance(row, Reject):
            reject(row)
            continue
        try:
            yield row._replace(attributes=types.convert(row))
        except InvalidRecord as error:
            reject(Reject(row.records, str(error)))
            rejected.append(row)


class _BulkWriter:
    """Writes one bulk in a thread while the caller reads the next.

    Only one bulk is written at a time: of two rows of a user, the later one must win.
    """

    def __init__(
        self, database: Database[Document], site: str, result: ImportResult, reject: Callable[[Reject], None]
    ) -> None:
        self._customers = database.customers.with_options(write_concern=WriteConcern("majority"))
        self._opt_outs = OptOuts(database.optouts)
        self._site = site
        self._result = result
        self._reject = reject
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

    def write(self, rows: list[Row], rejected: list[Row]) -> None:
        """Start to write *rows*, and the opt-outs of *rejected*, once the previous bulk is written."""
        self._wait()
        self._last = self._thread.submit(self._write, rows, rejected)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()
        for row in self._too_large:
            self._reject(Reject(row.records, "the customer would be larger than 16 MB"))
        self._too_large.clear()

    def _write(self, rows: list[Row], rejected: list[Row]) -> None:
        # An opt-out counts even if an attribute in the same row is invalid.
        self._opt_out([*rows, *rejected])
        rows = self._without_large(rows)
        with translate_errors():
            try:
                self._upsert(rows)
            except BulkWriteError as error:
                if not is_too_large(error):
                    raise
                self._upsert_one_by_one(rows)

    def _opt_out(self, rows: list[Row]) -> None:
        channels: dict[str, set[str]] = {}
        for row in rows:
            if row.opted_out:
                channels.setdefault(row.user, set()).update(row.opted_out)
        self._result.opted_out += self._opt_outs.add_all(self._site, channels, "imported")

    def _without_large(self, rows: list[Row]) -> list[Row]:
        """Return *rows* without customers too large for MongoDB. The driver cannot even send such an update."""
        characters: Counter[str] = Counter()
        for row in rows:
            characters[row.user] += sum(len(record.text) for record in row.records)
        suspects = {user for user, number in characters.items() if number > SUSPECT_CHARACTERS}
        if not suspects:
            return rows
        large = {
            user
            for user, attributes in _merge_by_user(row for row in rows if row.user in suspects).items()
            if len(bson.encode(attributes)) > MAX_CUSTOMER_BYTES
        }
        self._too_large += [row for row in rows if row.user in large]
        return [row for row in rows if row.user not in large]

    def _upsert(self, rows: list[Row]) -> None:
        if not rows:
            return
        try:
            written = self._customers.bulk_write(list(_upserts(self._site, rows)), ordered=False)
        except BulkWriteError as error:
            self._add(error.details["nUpserted"], error.details["nModified"])
            raise
        self._result.accepted += len(rows)
        self._add(written.upserted_count, written.modified_count)

    def _upsert_one_by_one(self, rows: list[Row]) -> None:
        """Write the customers of *rows* one at a time, so that one that is too large does not stop the others."""
        for user in dict.fromkeys(row.user for row in rows):
            of_user = [row for row in rows if row.user == user]
            try:
                self._upsert(of_user)
            except BulkWriteError as error:
                if not is_too_large(error):
                    raise
                self._too_large += of_user

    def _add(self, new: int, changed: int) -> None:
        self._result.new += new
        self._result.changed += changed


def _merge_by_user(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """Return the attributes of each user. If several rows have an attribute, the last one wins."""
    users: dict[str, dict[str, Any]] = {}
    for row in rows:
        users.setdefault(row.user, {}).update(row.attributes)
    return users


def _upserts(site: str, rows: list[Row]) -> Iterator[UpdateOne]:
    """Yield one update per user."""
    for user, attributes in _merge_by_user(rows).items():
        if_new: Document = {"site": site, "user": user}
        update: Document = {"$setOnInsert": if_new}
        if attributes:
            update["$set"] = {f"attributes.{name}": value for name, value in attributes.items()}
        else:
            if_new["attributes"] = {}
        yield UpdateOne({"_id": f"{site}:{user}"}, update, upsert=True)
