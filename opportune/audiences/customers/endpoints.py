"""Customers from Pinpoint's endpoints: all endpoints of a user, wherever they stand in the export, are one customer.

    parts of the export ─▶ a file on disk ─▶ by user, the oldest endpoint first ─▶ one customer after the other

The file makes it possible in flat memory; it lies in a folder of its own that only we can read, and is gone in the
end. What a newer endpoint says replaces what an older one says, in whatever order they come.
"""

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from opportune.audiences.customers.lines import Broken
from opportune.audiences.customers.pinpoint import Endpoint, Found, Values, endpoints, parts
from opportune.audiences.customers.rows import Reject, Row, Rows, check_user
from opportune.audiences.customers.values import Single, parse_date
from shared.errors import InvalidRequest

# What the Engager reads is what endpoints say and nothing else: an attribute of that name may be of another time.
RESERVED = frozenset({"email", "phone", "push_endpoint", "devices"})
PUSH = frozenset({"APNS", "APNS_SANDBOX", "GCM", "ADM", "BAIDU", "PUSH"})
CHANNELS = {"EMAIL": "email", "SMS": "sms", "CUSTOM": "webhook"} | dict.fromkeys(PUSH, "push")
DEMOGRAPHIC = {
    "AppVersion": "app_version",
    "Locale": "locale",
    "Make": "make",
    "Model": "model",
    "ModelVersion": "model_version",
    "Platform": "platform",
    "PlatformVersion": "platform_version",
    "Timezone": "timezone",
}
LOCATION = {
    "City": "city",
    "Country": "country",
    "Latitude": "latitude",
    "Longitude": "longitude",
    "PostalCode": "postal_code",
    "Region": "region",
}
NO_USER = "endpoint(s) without a user id"


@contextmanager
def open_export(path: Path, *, endpoint_ids: bool, progress: Callable[[int], None]) -> Iterator[Rows]:
    """Open an export: a file, or a folder with all its parts; raises `InvalidRequest`.

    *endpoint_ids*: an endpoint without a user id is a customer under its own id, instead of left out. *progress* is
    called with bytes while the parts are read; these count half, the customers made of them the other half.
    """
    sizes = sum(part.stat().st_size for part in parts(path))
    if not parts(path):
        raise InvalidRequest(f"{path}: there is no file to import")
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "endpoints")) as spool:
        collected = _Collected(spool, endpoint_ids=endpoint_ids)
        rejects = collected.fill(endpoints(path, lambda read: progress(read // 2)))
        made = 0

        def found() -> Iterator[Row | Reject]:
            nonlocal made
            yield from rejects
            for row, count in collected.customers():
                made += count
                yield row

        def bytes_read() -> int:
            return (sizes + sizes * made // max(collected.count, 1)) // 2

        yield Rows(found(), bytes_read, untyped=True, left_out=collected.left_out)


class _Collected:
    """All endpoints of an export, on disk. ``several``: attributes that somewhere have more than one value."""

    def __init__(self, spool: sqlite3.Connection, *, endpoint_ids: bool) -> None:
        spool.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        spool.execute("CREATE TABLE endpoints (user TEXT, at REAL, endpoint BLOB)")
        self._spool = spool
        self._endpoint_ids = endpoint_ids
        self._several: set[str] = set()
        self.count = 0
        self.left_out = Counter[str]()

    def fill(self, found: Iterator[Found | Reject]) -> Iterator[Reject]:
        """Collect endpoints, and yield what is none."""
        while bulk := list(islice(found, 1000)):
            rows = []
            for one in bulk:
                if isinstance(one, Reject):
                    yield one
                    continue
                try:
                    user = self._user(one.endpoint)
                except Broken as error:
                    yield Reject((one.record,), str(error))
                    continue
                if user is None:
                    self.left_out[NO_USER] += 1
                else:
                    rows.append(self._row(user, one))
            self._spool.executemany("INSERT INTO endpoints VALUES (?, ?, ?)", rows)
            self.count += len(rows)

    def customers(self) -> Iterator[tuple[Row, int]]:
        """Yield every customer, with the number of endpoints he had."""
        rows = self._spool.execute("SELECT user, endpoint FROM endpoints ORDER BY user, at, rowid")
        for user, group in groupby(rows, itemgetter(0)):
            several = [_decoder.decode(each[1]) for each in group]
            yield self._customer(user, several), len(several)

    def _user(self, endpoint: Endpoint) -> str | None:
        user = endpoint.user.user_id if endpoint.user else None
        if user and user.strip():
            return check_user(user, "User.UserId")
        return check_user(endpoint.id, "Id, and no User.UserId either") if self._endpoint_ids else None

    def _row(self, user: str, found: Found) -> tuple[str, float, bytes]:
        own, users = (
            found.endpoint.attributes or {},
            (found.endpoint.user and found.endpoint.user.user_attributes) or {},
        )
        self._several |= {name for values in (own, users) for name, several in values.items() if len(several or ()) > 1}
        at = parse_date(found.endpoint.effective_date or "")
        return user, at.timestamp() if at else 0.0, _encoder.encode(found)

    def _customer(self, user: str, found: list[Found]) -> Row:
        several = [each.endpoint for each in found]
        attributes: dict[str, Any] = {}
        # What is said of the user counts more than what is said of a device, whichever is newer.
        for layer in (_places, self._own, _metrics, self._users):
            for endpoint in several:
                attributes |= layer(endpoint)
        contacts, opted_out = reach(several)
        return Row(user, attributes | contacts, tuple(each.record for each in found), opted_out)

    def _own(self, endpoint: Endpoint) -> dict[str, Any]:
        return self._texts(endpoint.attributes)

    def _users(self, endpoint: Endpoint) -> dict[str, Any]:
        return self._texts(endpoint.user.user_attributes if endpoint.user else None)

    def _texts(self, attributes: Values | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, values in (attributes or {}).items():
            texts = [str(value) for value in values or () if value is not None and value != ""]
            if texts:
                found[storable(name)] = texts if name in self._several else Single(texts[0])
        return found


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Found)


def storable(name: str) -> str:
    """Return the name under which an attribute is kept."""
    name = name.translate(_UNSTORABLE).strip() or "_"
    return f"pinpoint_{name}" if name in RESERVED else name


_UNSTORABLE = str.maketrans({".": "_", "$": "_", "\0": "_"})


def reach(several: Iterable[Endpoint]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return by which addresses a user can be reached, and the channels that he has opted out of.

    As Pinpoint does, nothing is sent to an endpoint that is inactive or has opted out. Of the others the newest has
    the address. A channel in which there are no others, and one has opted out, is opted out of.
    """
    by_channel: dict[str, list[Endpoint]] = {}
    for endpoint in several:
        if (channel := CHANNELS.get(endpoint.channel_type or "")) is not None:
            by_channel.setdefault(channel, []).append(endpoint)
    contacts: dict[str, Any] = {}
    opted_out = []
    for channel, found in by_channel.items():
        active = [each for each in found if each.endpoint_status != "INACTIVE"]
        willing = [each for each in active if each.opt_out != "ALL"]
        if not willing and any(each.opt_out == "ALL" for each in found):
            opted_out.append(channel)
        contacts |= _addresses(channel, [each for each in willing or active if each.address])
    return contacts, tuple(sorted(opted_out))


def _addresses(channel: str, found: list[Endpoint]) -> dict[str, Any]:
    if not found or channel == "webhook":
        return {}
    if channel == "push":
        return {"devices": [{"platform": each.channel_type, "token": each.address} for each in found]}
    return {"email" if channel == "email" else "phone": found[-1].address}


def _places(endpoint: Endpoint) -> dict[str, Any]:
    named = [(endpoint.demographic, DEMOGRAPHIC), (endpoint.location, LOCATION)]
    return {
        names[field]: value
        for fields, names in named
        for field, value in (fields or {}).items()
        if field in names and value not in (None, "")
    }


def _metrics(endpoint: Endpoint) -> dict[str, Any]:
    # Pinpoint has no whole numbers; people who read of 7.0 orders do.
    return {
        storable(name): int(value) if value.is_integer() and abs(value) < 2**53 else value
        for name, value in (endpoint.metrics or {}).items()
        if value is not None
    }
