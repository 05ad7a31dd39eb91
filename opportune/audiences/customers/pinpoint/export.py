"""Read customers from a Pinpoint export. All endpoints of a user make one customer, wherever they are in the export.

    parts of the export ─▶ a temporary SQLite file ─▶ endpoints by user, oldest first ─▶ one customer at a time

The file keeps memory use constant. It is in a private folder and is deleted at the end.
"""

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import msgspec

from opportune.audiences.customers.lines import InvalidRecord
from opportune.audiences.customers.pinpoint.customer import make_customer
from opportune.audiences.customers.pinpoint.endpoints import Endpoint, EndpointRecord, list_parts, read_endpoints
from opportune.audiences.customers.rows import Reject, Row, RowSource, parse_user_id
from opportune.audiences.customers.values import parse_date
from shared.errors import InvalidRequest

NO_USER = "endpoint(s) without a user id"

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(EndpointRecord)


@contextmanager
def open_export(path: Path, *, endpoint_ids: bool, progress: Callable[[int], None]) -> Iterator[RowSource]:
    """Open an export, which is a file or a folder of parts; raise `InvalidRequest` if it has no file.

    *endpoint_ids*: make an endpoint without a user id a customer under its own id. Otherwise it is left out.
    *progress* is called with bytes while the parts are read. Reading counts as half of the size, and making the
    customers as the other half.
    """
    parts = list_parts(path)
    if not parts:
        raise InvalidRequest(f"{path}: no file to import")
    size = sum(part.stat().st_size for part in parts)
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "endpoints")) as connection:
        store = _EndpointStore(connection, endpoint_ids=endpoint_ids)
        rejects = store.fill(read_endpoints(path, lambda read: progress(read // 2)))
        used = 0

        def rows() -> Iterator[Row | Reject]:
            nonlocal used
            yield from rejects
            for row in store.customers():
                used += len(row.records)
                yield row

        def bytes_read() -> int:
            return (size + size * used // max(store.count, 1)) // 2

        yield RowSource(rows(), bytes_read, untyped=True, left_out=store.left_out)


class _EndpointStore:
    """All endpoints of an export, in a database on disk.

    count: the number of endpoints.
    left_out: how many endpoints were not stored, by reason.
    """

    def __init__(self, connection: sqlite3.Connection, *, endpoint_ids: bool) -> None:
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        connection.execute("CREATE TABLE endpoints (user TEXT, at REAL, endpoint BLOB)")
        self._connection = connection
        self._endpoint_ids = endpoint_ids
        self._lists: set[str] = set()  # attributes with more than one value in any endpoint
        self.count = 0
        self.left_out = Counter[str]()

    def fill(self, endpoints: Iterator[EndpointRecord | Reject]) -> Iterator[Reject]:
        """Store *endpoints*; yield the rejects among them."""
        while bulk := list(islice(endpoints, 1000)):
            rows = []
            for each in bulk:
                if isinstance(each, Reject):
                    yield each
                    continue
                try:
                    user = self._user(each.endpoint)
                except InvalidRecord as error:
                    yield Reject((each.record,), str(error))
                    continue
                if user is None:
                    self.left_out[NO_USER] += 1
                else:
                    rows.append(self._row(user, each))
            self._connection.executemany("INSERT INTO endpoints VALUES (?, ?, ?)", rows)
            self.count += len(rows)

    def customers(self) -> Iterator[Row]:
        """Yield one customer per user."""
        rows = self._connection.execute("SELECT user, endpoint FROM endpoints ORDER BY user, at, rowid")
        for user, group in groupby(rows, itemgetter(0)):
            yield make_customer(user, [_decoder.decode(endpoint) for _, endpoint in group], self._lists)

    def _user(self, endpoint: Endpoint) -> str | None:
        user = endpoint.user.user_id if endpoint.user else None
        if user and user.strip():
            return parse_user_id(user, "User.UserId")
        return parse_user_id(endpoint.id, "User.UserId or Id") if self._endpoint_ids else None

    def _row(self, user: str, found: EndpointRecord) -> tuple[str, float, bytes]:
        endpoint = found.endpoint
        for attributes in (endpoint.attributes, endpoint.user and endpoint.user.user_attributes):
            self._lists |= {name for name, values in (attributes or {}).items() if len(values or ()) > 1}
        at = parse_date(endpoint.effective_date or "")
        return user, at.timestamp() if at else 0.0, _encoder.encode(found)
