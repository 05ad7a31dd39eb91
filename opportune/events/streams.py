"""Recorded events from files: NDJSON of tracking-API messages, or CSV with a column mapping; gzip too."""

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

CHUNK = 1 << 16  # more would not stay in the processor's cache
ROWS = 256  # of a CSV file, handed on together
KNOWN_SECONDS = 1 << 12
FRACTIONS = {f"{ms:03}Z": ms for ms in range(1000)}  # what follows the second in most times
VIEWS = {"page": PAGE_VIEWED, "screen": SCREEN_VIEWED}
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
    name: Any = None
    category: Any = None

    @property
    def where(self) -> str:
        """Return file and line, as people write them."""
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


def read(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Recorded]:
    """Yield the events of *path* in the order of the file; raises `InvalidStream` at the first bad line.

    A file whose name ends in ``.csv`` (or ``.csv.gz``) is read by its header and *mapping*; columns that are
    not mapped become attributes, typed as numbers where they look like numbers. An event without a message
    id gets one from its place in the file, so that sending a file twice counts it once.
    """
    return chain.from_iterable(_blocks(path, mapping or {}))


def _blocks(path: Path, mapping: Mapping[str, str]) -> Iterator[list[Recorded]]:
    """Yield the events in lists: what is done to many at once costs half as much for each."""
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
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield file


class _Seconds(dict[str, int]):
    """The times in ms of seconds written as ``2026-01-31T12:00:00.``: most events share theirs with others."""

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
    """Make a page or screen call the event that the Gateway makes of it."""
    event.event, event.type = VIEWS[event.type], "track"
    for field, value in (("name", event.name), ("category", event.category)):
        if value not in (None, ""):
            event.attributes = {**event.attributes, field: str(value)}


def _complete(event: Recorded, at: int | None) -> None:
    """Say what is wrong with *event*, or set what may be left out."""
    if at is None:
        stamp = event.original or event.timestamp
        raise InvalidStream(f"{event.where}: 'timestamp' {stamp!r} is no ISO-8601 time and no milliseconds")
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
    """Decode a line that may say ``null`` where it says nothing; a blank one is no event, so of no type."""
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
                f"{name}:1: there is no column {column!r}; its columns are {', '.join(header)}; "
                f"name the right one by --map {field}=COLUMN"
            )
    places = {field: header.index(column) for field, column in columns.items() if column in header}
    others = [(n, column) for n, column in enumerate(header) if n not in places.values()]
    for row in rows:
        where = f"{name}:{rows.line_num}"
        if len(row) != len(header):
            raise InvalidStream(f"{where}: {len(row)} columns, the header has {len(header)}")
        at = parse_ms(row[places["timestamp"]])
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


def typed(text: str) -> str | int | float:
    """Return a CSV value as a number where it is written like one; ``007`` and ``+31`` are none."""
    if not NUMBER.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdecimal() else value
