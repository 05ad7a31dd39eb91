"""Read recorded events from NDJSON of tracking-API messages, or CSV with a column mapping. Files may be gzipped."""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import msgspec

from gateway.times import parse_iso_ms, parse_ms
from shared.contracts import ANONYMOUS_PREFIX, PAGE_VIEWED, SCREEN_VIEWED
from shared.errors import OpportuneError
from shared.files import open_regular

CHUNK = 1 << 16  # larger chunks leave the processor's cache
ROWS = 256  # of a CSV file, yielded in one list
KNOWN_SECONDS = 1 << 12
FRACTIONS = {f"{ms:03}Z": ms for ms in range(1000)}  # how most times end
VIEWS = {"page": PAGE_VIEWED, "screen": SCREEN_VIEWED}
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


class InvalidStream(OpportuneError):
    """A file of events cannot be read. The message names file and line."""

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
    """One recorded event, decoded from a line of NDJSON in one step.

    `read_events` yields it with ``user``, ``event``, ``message_id`` and ``attributes`` set and validated.
    ``at`` is its time in ms; ``file`` and ``line`` are its place.
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
    name: Any = None
    category: Any = None

    @property
    def where(self) -> str:
        """Return ``file:line``."""
        return f"{self.file}:{self.line}"


LENIENT = msgspec.json.Decoder(dict[str, Any])


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


def read_events(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Recorded]:
    """Yield the events of *path* in the order of the file. Raises `InvalidStream` at the first bad line.

    The header and *mapping* of a ``.csv`` (or ``.csv.gz``) file name its columns. Unmapped columns become attributes;
    a value that looks like a number becomes one. An event without a message id gets one from its place in the file,
    so a file that is sent twice counts once.
    """
    return chain.from_iterable(_blocks(path, mapping or {}))


def _blocks(path: Path, mapping: Mapping[str, str]) -> Iterator[list[Recorded]]:
    """Yield the events in lists, which halves the cost per event."""
    try:
        with _open(path) as file:
            if path.name.removesuffix(".gz").endswith(".csv"):
                rows = _csv(file, path.name, mapping)
                while block := list(islice(rows, ROWS)):
                    yield block
            else:
                yield from _ndjson(file, path.name)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise InvalidStream(f"{path}: cannot be read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with open_regular(path) as raw:
        if path.suffix != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as file:
            yield file


class _Seconds(dict[str, int]):
    """A cache of seconds such as ``2026-01-31T12:00:00.`` in ms. Most events share their second with others."""

    def __missing__(self, second: str) -> int:
        at = parse_iso_ms(second + "000Z") if second[-1:] == "." else None
        if at is None:
            raise KeyError(second)
        if len(self) >= KNOWN_SECONDS:
            self.clear()
        self[second] = at
        return at


def _ndjson(file: Any, name: str) -> Iterator[list[Recorded]]:
    decoder = msgspec.json.Decoder(Recorded)
    seconds = _Seconds()
    lines, rest = 0, b""
    while True:
        chunk = file.read(CHUNK)
        block, newline, tail = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        events = _decode(decoder, block, lines, name)
        stamps: list[Any] = [event.original or event.timestamp for event in events]
        try:
            times: list[int | None] = [seconds[stamp[:20]] + FRACTIONS[stamp[20:]] for stamp in stamps]
        except (KeyError, TypeError):
            times = [parse_ms(stamp) for stamp in stamps]
        for line, event, at in zip(count(lines + 1), events, times, strict=False):
            event.file, event.line = name, line
            if event.type == "track" and at is not None and event.user and event.event and event.message_id:
                event.at = at
            elif event.type == "track":
                _complete(event, at)
            elif event.type in VIEWS:
                _view(event)
                _complete(event, at)
        yield [event for event in events if event.type == "track"]
        if not chunk:
            return
        lines += len(events)
        rest = tail if newline else rest + chunk


def _view(event: Recorded) -> None:
    """Turn a page or screen call into the event that the Gateway makes of it."""
    event.event, event.type = VIEWS[event.type], "track"
    for field, value in (("name", event.name), ("category", event.category)):
        if value not in (None, ""):
            event.attributes = {**event.attributes, field: str(value)}


def _complete(event: Recorded, at: int | None) -> None:
    """Set the optional fields of *event*. Raises `InvalidStream` if a required one is missing."""
    if at is None:
        stamp = event.original or event.timestamp
        raise InvalidStream(f"{event.where}: 'timestamp' {stamp!r} is neither an ISO-8601 time nor milliseconds")
    event.at = at
    if not event.user:
        event.user = _anonymous(event)
    if not event.event:
        raise InvalidStream(f"{event.where}: an event needs 'event', the name of what happened")
    if not event.message_id:
        event.message_id = _place(event.file, event.line, at)


def _anonymous(event: Recorded) -> str:
    if not event.anonymous:
        raise InvalidStream(f"{event.where}: an event needs 'userId' or 'anonymousId'")
    return f"{ANONYMOUS_PREFIX}{event.anonymous}"


def _decode(decoder: msgspec.json.Decoder[Recorded], block: bytes, before: int, name: str) -> list[Recorded]:
    """Decode a block of lines at once; one by one where that fails or lines are blank."""
    try:
        events = decoder.decode_lines(block)
        if len(events) == block.count(b"\n") + (1 if block else 0):
            return events
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return [_decode_leniently(line, f"{name}:{n}") for n, line in enumerate(block.split(b"\n"), start=before + 1)]


def _decode_leniently(line: bytes, where: str) -> Recorded:
    """Decode a line in which ``null`` stands for a missing field. A blank line yields an event without a type."""
    if not line.strip():
        return Recorded(type="")
    try:
        fields = {key: value for key, value in LENIENT.decode(line).items() if value is not None}
        if isinstance(fields.get("userId"), int):
            fields["userId"] = str(fields["userId"])
        return msgspec.convert(fields, Recorded)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidStream(f"{where}: {error}") from error


def _csv(file: Any, name: str, mapping: Mapping[str, str]) -> Iterator[Recorded]:
    rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
    header = next(rows, None)
    if header is None:
        raise InvalidStream(f"{name}: the file is empty")
    columns = {field: mapping.get(field, field) for field in ("user_id", "event", "timestamp", "message_id")}
    for field, column in columns.items():
        if column not in header and (field != "message_id" or field in mapping):
            raise InvalidStream(
                f"{name}:1: no column {column!r}, only {', '.join(header)}; choose one with --map {field}=COLUMN"
            )
    places = {field: header.index(column) for field, column in columns.items() if column in header}
    others = [(n, column) for n, column in enumerate(header) if n not in places.values()]
    for row in rows:
        where = f"{name}:{rows.line_num}"
        if len(row) != len(header):
            raise InvalidStream(f"{where}: {len(row)} columns, the header has {len(header)}")
        at = parse_ms(row[places["timestamp"]])
        if at is None:
            raise InvalidStream(f"{where}: {row[places['timestamp']]!r} is neither an ISO-8601 time nor milliseconds")
        user, event = row[places["user_id"]], row[places["event"]]
        if not user or not event:
            raise InvalidStream(f"{where}: user id and event must not be empty")
        message_id = row[places["message_id"]] if "message_id" in places else _place(name, rows.line_num, at)
        attributes: dict[str, Any] = {column: typed(row[n]) for n, column in others if row[n] != ""}
        yield Recorded(user, event, message_id, attributes, at, name, rows.line_num)


def _place(name: str, line: int, at: int) -> str:
    """Return a message id for an event that has none: the same each time the same file is sent."""
    return f"{name[-60:]}:{line}@{at}"


def typed(text: str) -> str | int | float:
    """Return a CSV value, as a number if it looks like one. ``007`` and ``+31`` stay text."""
    if not NUMBER.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdecimal() else value
