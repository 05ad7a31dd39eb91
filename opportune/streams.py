"""Recorded events from files: NDJSON of tracking-API messages, or CSV with a column mapping; gzip too."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import OpportuneError

CHUNK = 1 << 20


class InvalidStream(OpportuneError):
    """A file of events that cannot be read: names file and line."""

    code = "invalid_stream"


class Recorded(NamedTuple):
    """One recorded event; ``at`` in ms, ``where``: file and line."""

    user: str
    event: str
    at: int
    message_id: str
    attributes: Mapping[str, Any]
    where: str


class _Line(msgspec.Struct):
    """One line of NDJSON: the fields of a tracking-API message that count here."""

    event: str | None = None
    type: str = "track"
    userId: str | int | None = None  # noqa: N815 - the wire's name
    anonymousId: str | int | None = None  # noqa: N815 - the wire's name
    timestamp: str | int | None = None
    originalTimestamp: str | int | None = None  # noqa: N815 - the wire's name
    messageId: str | None = None  # noqa: N815 - the wire's name
    properties: dict[str, Any] | None = None


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
    except (OSError, EOFError) as error:
        raise InvalidStream(f"{path}: cannot be read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file


def _ndjson(file: Any, name: str) -> Iterator[Recorded]:
    decoder = msgspec.json.Decoder(_Line)
    number, rest = 0, b""
    while True:
        chunk = file.read(CHUNK)
        block, newline, tail = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        for line in _decode(decoder, block, number, name):
            number += 1
            if line is not None and line.type == "track":
                yield _recorded(line, number, name)
        if not chunk:
            return
        rest = tail if newline else rest + chunk


def _decode(decoder: msgspec.json.Decoder[_Line], block: bytes, before: int, name: str) -> Iterable[_Line | None]:
    """Decode a block of lines at once; line by line where that fails or lines are blank, to name the bad one."""
    try:
        lines = decoder.decode_lines(block)
        if len(lines) == block.count(b"\n") + (1 if block else 0):
            return lines
    except msgspec.DecodeError:
        pass
    return _one_by_one(decoder, block, before, name)


def _one_by_one(decoder: msgspec.json.Decoder[_Line], block: bytes, before: int, name: str) -> Iterator[_Line | None]:
    for number, line in enumerate(block.split(b"\n"), start=before + 1):
        try:
            yield decoder.decode(line) if line.strip() else None
        except msgspec.DecodeError as error:
            raise InvalidStream(f"{name}:{number}: {error}") from error


def _recorded(line: _Line, number: int, name: str) -> Recorded:
    user = str(line.userId) if line.userId is not None and line.userId != "" else ""
    if not user and line.anonymousId:
        user = ANONYMOUS_PREFIX + str(line.anonymousId)
    if not user:
        raise InvalidStream(f"{name}:{number}: an event needs 'userId' or 'anonymousId'")
    if not line.event:
        raise InvalidStream(f"{name}:{number}: an event needs 'event', the name of what happened")
    stamp = line.originalTimestamp if line.originalTimestamp is not None else line.timestamp
    at = to_ms(stamp)
    if at is None:
        raise InvalidStream(f"{name}:{number}: 'timestamp' {stamp!r} is no ISO-8601 time and no milliseconds")
    where = f"{name}:{number}"
    return Recorded(user, line.event, at, line.messageId or where, line.properties or {}, where)


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
        message_id = row[places["message_id"]] if "message_id" in places else where
        attributes = {column: typed(row[n]) for n, column in others if row[n] != ""}
        yield Recorded(user, event, at, message_id, attributes, where)


def to_ms(stamp: str | int | None) -> int | None:
    """Return ms of an ISO-8601 time or of a number of ms; ``None`` where it is neither."""
    if isinstance(stamp, int):
        return stamp
    if not stamp:
        return None
    if stamp.isdecimal():
        return int(stamp)
    try:
        parsed = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)


def typed(text: str) -> str | int | float:
    """Return a CSV value as a number where it looks like one."""
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        if str(value) == text or (number is float and "n" not in text.lower()):
            return value
    return text
