"""Recorded events from files: NDJSON of tracking-API messages, or CSV with a column mapping; gzip too."""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gateway.tracking import iso_ms
from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import OpportuneError

CHUNK = 1 << 16  # more would not stay in the processor's cache
EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, in ms
LONGEST_MS = 15
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class InvalidStream(OpportuneError):
    """A file of events that cannot be read: names file and line."""

    code = "invalid_stream"


class Recorded(
    msgspec.Struct,
    gc=False,
    rename={
        "user": "userId",
        "anonymous": "anonymousId",
        "message_id": "messageId",
        "original": "originalTimestamp",
        "attributes": "properties",
        **{ours: f"opportune {ours}" for ours in ("at", "file", "line")},
    },
):
    """One recorded event, decoded from a line of NDJSON in one go.

    When it is handed out, ``user``, ``event``, ``message_id`` and ``attributes`` are set and of the types they
    have here, ``at`` is its time in ms, ``file`` and ``line`` say where it stands.
    """

    user: str = msgspec.field(default="")
    event: str = ""
    message_id: str = msgspec.field(default="")
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    at: int = 0
    file: str = ""
    line: int = 0
    type: str = "track"
    anonymous: str | int | None = None
    timestamp: str | int | None = None
    original: str | int | None = None

    @property
    def where(self) -> str:
        """Return file and line, as people write them."""
        return f"{self.file}:{self.line}"


def parse_map(text: str) -> dict[str, str]:
    """Return ``{"user_id": column, …}`` of ``user_id=column,event=column,timestamp=column``."""
    known = ("user_id", "event", "timestamp", "message_id")
    mapping: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, column = part.partition("=")
        if not equals or name.strip() not in known:
            raise InvalidStream(f"--map: {part!r} is not one of {', '.join(f'{k}=COLUMN' for k in known)}")
        mapping[name.strip()] = column.strip()
    return mapping


def read(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Recorded]:
    """Yield the events of *path* in the order of the file; raises `InvalidStream` at the first bad line.

    A file whose name ends in ``.csv`` (or ``.csv.gz``) is read by its header and *mapping*; columns that are
    not mapped become attributes, typed as numbers where they look like numbers. An event without a message
    id gets one from its place in the file, so that sending a file twice counts it once.
    """
    try:
        with _open(path) as file:
            if path.name.removesuffix(".gz").endswith(".csv"):
                yield from _csv(file, path.name, mapping or {})
            else:
                yield from _ndjson(file, path.name)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise InvalidStream(f"{path}: cannot be read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file


def _ndjson(file: Any, name: str) -> Iterator[Recorded]:
    decoder = msgspec.json.Decoder(Recorded)
    # Most events are of the same second as the one before; what is left to read is "123Z".
    second, base, fraction = "", 0, {f"{ms:03}Z": ms for ms in range(1000)}.get
    number, rest = 0, b""
    while True:
        chunk = file.read(CHUNK)
        block, newline, tail = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        for event in _decode(decoder, block, number, name):
            number += 1
            if event is None or event.type != "track":
                continue
            event.file, event.line = name, number
            stamp = event.original or event.timestamp
            if type(stamp) is str and stamp[:20] == second and (ms := fraction(stamp[20:])) is not None:
                event.at = base + ms
            else:
                event.at = _time(stamp, event)
                if type(stamp) is str and stamp[19:20] == "." and fraction(stamp[20:]) is not None:
                    second, base = stamp[:20], event.at - event.at % 1000
            if not event.user:
                event.user = _anonymous(event)
            if not event.event:
                raise InvalidStream(f"{event.where}: an event needs 'event', the name of what happened")
            if not event.message_id:
                event.message_id = _place(name, number, event.at)
            yield event
        if not chunk:
            return
        rest = tail if newline else rest + chunk


def _time(stamp: str | int | None, event: Recorded) -> int:
    at = to_ms(stamp)
    if at is None:
        raise InvalidStream(f"{event.where}: 'timestamp' {stamp!r} is no ISO-8601 time and no milliseconds")
    return at


def _anonymous(event: Recorded) -> str:
    if not event.anonymous:
        raise InvalidStream(f"{event.where}: an event needs 'userId' or 'anonymousId'")
    return f"{ANONYMOUS_PREFIX}{event.anonymous}"


def _decode(decoder: msgspec.json.Decoder[Recorded], block: bytes, before: int, name: str) -> Iterable[Recorded | None]:
    """Decode a block of lines at once; one by one where that fails or lines are blank."""
    try:
        events = decoder.decode_lines(block)
        if len(events) == block.count(b"\n") + (1 if block else 0):
            return events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return _one_by_one(block, before, name)


def _one_by_one(block: bytes, before: int, name: str) -> Iterator[Recorded | None]:
    """Decode lines as they come: some say ``null`` where they say nothing, some cannot be read at all."""
    lenient = msgspec.json.Decoder(dict[str, Any])
    for number, line in enumerate(block.split(b"\n"), start=before + 1):
        try:
            if not line.strip():
                yield None
                continue
            fields = {key: value for key, value in lenient.decode(line).items() if value is not None}
            if isinstance(fields.get("userId"), int):
                fields["userId"] = str(fields["userId"])
            yield msgspec.convert(fields, Recorded)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidStream(f"{name}:{number}: {error}") from error


def _csv(file: Any, name: str, mapping: Mapping[str, str]) -> Iterator[Recorded]:
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    header = next(rows, None)
    if header is None:
        raise InvalidStream(f"{name}: the file is empty")
    columns = {field: mapping.get(field, field) for field in ("user_id", "event", "timestamp", "message_id")}
    for field, column in columns.items():
        if column not in header and (field != "message_id" or field in mapping):
            raise InvalidStream(
                f"{name}:1: there is no column {column!r}; its columns are {', '.join(header)}; "
                f"name the right one by --map {field}=COLUMN"
            )
    places = {field: header.index(column) for field, column in columns.items() if column in header}
    others = [(n, column) for n, column in enumerate(header) if n not in places.values()]
    for row in rows:
        where = f"{name}:{rows.line_num}"
        if len(row) != len(header):
            raise InvalidStream(f"{where}: {len(row)} columns, the header has {len(header)}")
        at = to_ms(row[places["timestamp"]])
        if at is None:
            raise InvalidStream(f"{where}: {row[places['timestamp']]!r} is no ISO-8601 time and no milliseconds")
        user, event = row[places["user_id"]], row[places["event"]]
        if not user or not event:
            raise InvalidStream(f"{where}: user id and event must not be empty")
        message_id = row[places["message_id"]] if "message_id" in places else _place(name, rows.line_num, at)
        attributes: dict[str, Any] = {column: typed(row[n]) for n, column in others if row[n] != ""}
        yield Recorded(user, event, message_id, attributes, at, name, rows.line_num)


def _place(name: str, line: int, at: int) -> str:
    """Return a message id for an event that has none: the same each time the same file is sent."""
    return f"{name[-60:]}:{line}@{at}"


def to_ms(stamp: str | int | None) -> int | None:
    """Return ms of an ISO-8601 time or of a number of ms; ``None`` where it is neither."""
    if isinstance(stamp, str) and stamp.isdecimal() and len(stamp) <= LONGEST_MS:
        stamp = int(stamp)
    if isinstance(stamp, int):
        return stamp if EARLIEST <= stamp <= LATEST else None
    return iso_ms(stamp)


def typed(text: str) -> str | int | float:
    """Return a CSV value as a number where it is written like one; ``007`` and ``+31`` are none."""
    if not NUMBER.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdecimal() else value
