"""Read CSV with a column mapping. Each row is an event; unmapped columns are its attributes."""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from gateway.body import MAX_EVENT_BYTES
from gateway.tracking import MAX_MESSAGE_ID_LENGTH
from opportune.events.ndjson import Checks, keep_meant
from opportune.events.recorded import Call, InvalidStream, Recorded, place_id, read_item
from shared.contracts import ANONYMOUS_PREFIX
from shared.times import parse_ms

FIELDS = ("user_id", "event", "timestamp", "message_id")
ROWS = 256  # yielded in one list
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")


def parse_map(text: str) -> dict[str, str]:
    """Return ``{"user_id": column, …}`` of ``user_id=column,event=column,timestamp=column``."""
    mapping: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, column = part.partition("=")
        if not equals or name.strip() not in FIELDS:
            raise InvalidStream(f"--map: {part!r} is not one of {', '.join(f'{k}=COLUMN' for k in FIELDS)}")
        mapping[name.strip()] = column.strip()
    return mapping


class _Row(NamedTuple):
    """A row as it was written. ``stamp``: its time. ``size``: characters. ``has_nul``: it contains U+0000."""

    line: int
    user: str
    event: str
    stamp: str
    message_id: str
    attributes: dict[str, Any]
    size: int
    has_nul: bool


def read_blocks(file: Any, name: str, mapping: Mapping[str, str]) -> Iterator[list[Recorded]]:
    """Yield the events of *file* in lists."""
    rows, checks = _read_rows(file, name, mapping), Checks()
    while block := list(islice(rows, ROWS)):
        times = keep_meant([parse_ms(row.stamp) for row in block])
        ids = [row.message_id for row in block]
        is_ordinary = (
            None not in times
            and max(map(len, ids)) <= MAX_MESSAGE_ID_LENGTH
            and all(row.user and row.event and row.size < MAX_EVENT_BYTES // 8 and not row.has_nul for row in block)
            and checks.are_ordinary(userId={row.user for row in block}, event={row.event for row in block})
        )
        if not is_ordinary:
            yield [each for row in block if (each := _read_row(row, name).recorded) is not None]
            continue
        yield [
            Recorded(
                row.user, row.event, row.message_id or place_id(name, row.line, at), row.attributes, at, name, row.line
            )
            for row, at in zip(block, times, strict=True)
            if at is not None
        ]


def read_calls(file: Any, name: str, mapping: Mapping[str, str]) -> Iterator[Call]:
    """Yield the rows of *file* as tracking messages."""
    return (_read_row(row, name) for row in _read_rows(file, name, mapping))


def _read_rows(file: Any, name: str, mapping: Mapping[str, str]) -> Iterator[_Row]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield from _read_table(csv.reader(text), name, mapping)
    finally:
        with suppress(ValueError):  # the file is closed already
            text.detach()


def _read_table(rows: Any, name: str, mapping: Mapping[str, str]) -> Iterator[_Row]:
    header = next(rows, None)
    if header is None:
        raise InvalidStream(f"{name}: the file is empty")
    columns = {field: mapping.get(field, field) for field in FIELDS}
    for field, column in columns.items():
        if column not in header and (field != "message_id" or field in mapping):
            raise InvalidStream(
                f"{name}:1: no column {column!r}, only {', '.join(header)}; choose one with --map {field}=COLUMN"
            )
    places = {field: header.index(column) for field, column in columns.items() if column in header}
    user, event, stamp = (places[field] for field in FIELDS[:3])
    message_id = places.get("message_id")
    others = [(n, column) for n, column in enumerate(header) if n not in places.values()]
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise InvalidStream(f"{name}:{rows.line_num}: {len(row)} columns, the header has {len(header)}")
        whole = "".join(row)
        yield _Row(
            rows.line_num,
            row[user],
            row[event],
            row[stamp],
            row[message_id] if message_id is not None else "",
            {column: typed(row[n]) for n, column in others if row[n] != ""},
            len(whole),
            "\0" in whole,
        )


def _read_row(row: _Row, name: str) -> Call:
    """Return *row* as a call. A user that begins with ``anon:`` is a visitor: CSV has no column for one."""
    is_visitor = row.user.startswith(ANONYMOUS_PREFIX)
    who = {"anonymousId": row.user.removeprefix(ANONYMOUS_PREFIX)} if is_visitor else {"userId": row.user}
    item = {
        "event": row.event,
        "timestamp": row.stamp,
        "messageId": row.message_id,
        "properties": row.attributes,
        **who,
    }
    return read_item(item, name, row.line)


def typed(text: str) -> str | int | float:
    """Return a CSV value, as a number if it looks like one. ``007`` and ``+31`` stay text."""
    if not NUMBER.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        return text
    return int(text) if text.lstrip("-").isdecimal() else value
