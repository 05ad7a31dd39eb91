"""Read NDJSON of tracking messages, by the rules of the Gateway, at the speed of a backtest.

Most lines of a file are events that an ordinary tracker sent. They are decoded in blocks, straight into records, and
checked in columns. Every other line goes through the Gateway's own parsing, which decides what it is or refuses it. So
do the whole first block, because a fault of the program that wrote the file shows there, and short blocks. In other
blocks, a key that is there twice in a field of no use, such as `context`, is not found.
`tests/unit/events/test_reader.py` compares the two ways.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

from gateway import tracking
from gateway.adapters.items import drop_known_logins
from gateway.body import MAX_DEPTH, MAX_EVENT_BYTES, measure
from gateway.times import can_be_meant
from opportune.events import formats
from opportune.events.recorded import (
    BOM,
    Call,
    InvalidStream,
    PlainLine,
    Recorded,
    clean_line,
    place_id,
    read_item,
    read_line,
)
from shared.clock import now_ms
from shared.contracts import ANONYMOUS_PREFIX, PAGE_VIEWED, SCREEN_VIEWED
from shared.times import parse_iso_ms, parse_ms
from shared.user_ids import MAX_ID_LENGTH

CHUNK = 1 << 16  # larger chunks leave the processor's cache
SHORT = 1 << 12
KNOWN = 1 << 16  # ids whose check is remembered
KNOWN_SECONDS = 1 << 12
FRACTIONS = {f"{ms:03}Z": ms for ms in range(1000)}  # how most times end
VIEWS = {"page": PAGE_VIEWED, "screen": SCREEN_VIEWED}
NOTHING = frozenset((None, ""))
KEYS = 6  # of a line of an event: type, userId, event, messageId, timestamp, properties

WINDOW = MAX_EVENT_BYTES // 2  # a line of more than MAX_EVENT_BYTES fills one window of this size, without a line feed
BRACKETS = bytes.maketrans(b"[", b"{")
NO_BRACKETS = bytes(each for each in range(256) if each not in b"{[\n")
MANY_BRACKETS = b"{" * (MAX_DEPTH + 2)


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


class Checks:
    """The checks of ids and names of one file, in columns. The Gateway is asked once about each value."""

    def __init__(self) -> None:
        self._accepted: dict[str, set[str]] = {"userId": set(), "anonymousId": set(), "event": set()}

    def are_ordinary(self, **columns: set[Any]) -> bool:
        """Return whether the Gateway accepts the values of these fields as they are, or they are missing."""
        return not any(self._has_odd(field, values) for field, values in columns.items())

    def _has_odd(self, field: str, values: set[Any]) -> bool:
        accepted = self._accepted[field]
        new = values - accepted - NOTHING
        if len(accepted) + len(new) > KNOWN:
            accepted.clear()
        if not all(tracking.accepts(field, value) for value in new):
            return True
        accepted |= new
        return False


def read_blocks(file: Any, name: str, chunk_bytes: int = CHUNK) -> Iterator[list[Any]]:
    """Yield the events and logins of *file* in lists, which halves the cost per event."""
    decoder = msgspec.json.Decoder(PlainLine)
    seconds, checks, last = _Seconds(), Checks(), 0
    for block, before in _split(file, name, chunk_bytes):
        events = _decode(decoder, block) if before and len(block) > SHORT else None
        found = None if events is None else _read_plain(events, block, before, name, seconds, checks)
        if found is None:
            found = _read_lines(block.split(b"\n"), name, before)
        if found and not found[0].at:
            found[0].at = last
        last = found[-1].at if found else last
        yield found


def _read_plain(
    events: list[PlainLine], block: bytes, before: int, name: str, seconds: _Seconds, checks: Checks
) -> list[Any] | None:
    """Return the records of a *block* of mostly ordinary events; ``None`` if an id or a name is not an ordinary one."""
    users, names = {event.user for event in events}, {event.event for event in events}
    visitors = {event.anonymous for event in events}
    if int in set(map(type, users)) or int in set(map(type, visitors)):
        for event in events:
            event.user, event.anonymous = _as_text(event.user), _as_text(event.anonymous)
        users, visitors = {event.user for event in events}, {event.anonymous for event in events}
    if not checks.are_ordinary(userId=users, anonymousId=visitors, event=names):
        return None
    odd = _find_odd(block, events)
    times = _read_times(events, seconds)
    is_complete = NOTHING.isdisjoint(users | names) and None not in times
    if is_complete and all(event.message_id for event in events) and {event.type for event in events} == {"track"}:
        for number, event, at in zip(count(before + 1), events, times, strict=False):
            event.file, event.line, event.at = name, number, at or 0
    else:
        for number, event, at in zip(count(before + 1), events, times, strict=False):
            event.file, event.line = name, number
            if not _complete(event, at):
                odd.add(number - before - 1)
    if not odd:
        return events
    found: list[Any] = [*events]
    nothing: Any = None
    lines = block.split(b"\n")
    for n in odd:
        found[n : n + 1] = _read_lines([lines[n]], name, before + n) or [nothing]
    return _set_missing_times([event for event in found if event is not None])


def read_export(file: Any, name: str, product: str) -> Iterator[Call]:
    """Yield the tracking messages in an export of *product*. A login is yielded once, until the visitor has another."""
    owners: dict[Any, Any] = {}
    for block, before in _split(file, name):
        for number, line in enumerate(block.split(b"\n"), start=before + 1):
            if not (text := clean_line(line)):
                continue
            try:
                items = formats.read_export(product, text, f"{name}:{number}")
            except ValueError as error:
                raise InvalidStream(f"{name}:{number}: {error}") from error
            for item in drop_known_logins(items, owners):
                yield read_item(item, name, number, time_field=formats.FORMATS[product].time)


def guess_format(file: Any, name: str) -> str:
    """Return the name of the format that the first line of *file* has."""
    for block, before in _split(file, name):
        for number, line in enumerate(block.split(b"\n"), start=before + 1):
            if text := clean_line(line):
                return formats.guess(text, f"{name}:{number}")
    return formats.SEGMENT


def read_calls(file: Any, name: str) -> Iterator[Call]:
    """Yield all tracking messages of *file*, of every type."""
    last = 0
    for block, before in _split(file, name):
        for number, line in enumerate(block.split(b"\n"), start=before + 1):
            if (call := read_line(line, name, number)) is not None:
                call.message.at = last = call.message.at or last
                yield call


def _set_missing_times(records: list[Any]) -> list[Any]:
    """Give a login without a time the time of the line before it."""
    last = 0
    for record in records:
        record.at = last = record.at or last
    return records


def _split(file: Any, name: str, chunk_bytes: int = CHUNK) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of whole lines without their last line feed, each with the number of lines before it."""
    lines, rest = 0, file.read(len(BOM))
    if rest[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InvalidStream(f"{name}:1: the file is UTF-16: save it as UTF-8")
    rest = rest.removeprefix(BOM)
    while True:
        chunk = file.read(chunk_bytes)
        block, newline, tail = (rest + chunk).rpartition(b"\n") if chunk else (rest, b"", b"")
        if block:
            yield block, lines
        if not chunk:
            return
        lines += block.count(b"\n") + len(newline)
        rest = tail if newline else rest + chunk


def _read_lines(lines: list[bytes], name: str, before: int) -> list[Recorded]:
    calls = (read_line(line, name, number) for number, line in enumerate(lines, start=before + 1))
    return _set_missing_times([each for call in calls if call is not None and (each := call.recorded) is not None])


def _decode(decoder: msgspec.json.Decoder[PlainLine], block: bytes) -> list[PlainLine] | None:
    """Return the lines of *block*; ``None`` if one of them is not an ordinary one."""
    try:
        events = decoder.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return events if len(events) == block.count(b"\n") + 1 else None


def _read_times(events: list[PlainLine], seconds: _Seconds) -> list[int | None]:
    """Return the time of each event; ``None`` for one that is missing or cannot be meant. Set when it was received.

    If that is known, the first receiver has corrected ``timestamp``.
    """
    times = keep_meant(_parse_times([event.original or event.timestamp for event in events], seconds))
    receipts = [event.receipt for event in events]
    if set(receipts) == {None}:
        return times
    received = keep_meant(_parse_times(receipts, seconds))
    corrected = keep_meant(_parse_times([event.timestamp for event in events], seconds))
    for n, event in enumerate(events):
        if event.receipt not in NOTHING:
            event.received = received[n] or 0
            times[n] = corrected[n] if event.received else None
    return times


def keep_meant(times: list[int | None]) -> list[int | None]:
    """Return *times*, with ``None`` for those that cannot be meant."""
    now, known = now_ms(), [at for at in times if at is not None]
    if not known or (can_be_meant(min(known), now) and can_be_meant(max(known), now)):
        return times
    return [at if at is not None and can_be_meant(at, now) else None for at in times]


def _parse_times(stamps: list[Any], seconds: _Seconds) -> list[int | None]:
    try:
        return [seconds[stamp[:20]] + FRACTIONS[stamp[20:]] for stamp in stamps]
    except (KeyError, TypeError):
        return [parse_ms(stamp) for stamp in stamps]


def _as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _find_odd(block: bytes, events: list[PlainLine]) -> set[int]:
    """Return the places of lines that may break a limit on size, depth or text.

    Of lines with other fields than those of `PlainLine`, the ones with many brackets are measured.
    """
    odd: set[int] = set()
    if any(block.find(b"\n", at, at + WINDOW) < 0 for at in range(0, len(block) - WINDOW, WINDOW)):
        odd |= {n for n, line in enumerate(block.split(b"\n")) if len(line) > MAX_EVENT_BYTES}
    if b"\\u0000" in block:
        odd |= {n for n, line in enumerate(block.split(b"\n")) if b"\\u0000" in line}
    if block.count(b'":') == KEYS * len(events) + sum([len(event.attributes) for event in events]):
        return odd  # without other keys than these, no key is there twice, and only the attributes are nested
    brackets = block.translate(BRACKETS, NO_BRACKETS)
    if MANY_BRACKETS in brackets:
        lines = block.split(b"\n")
        suspects = [n for n, each in enumerate(brackets.split(b"\n")) if MANY_BRACKETS in each]
        odd |= {n for n in suspects if measure(msgspec.json.decode(lines[n])).depth > MAX_DEPTH + 1}
    return odd


def _complete(event: PlainLine, at: int | None) -> bool:
    """Set what an event lacks; return whether it is an event then."""
    if event.type in VIEWS:
        if not _view(event):
            return False
    elif event.type != "track" or not event.event:
        return False
    if at is None:
        return False
    if not event.user:
        if not event.anonymous:
            return False
        event.user = f"{ANONYMOUS_PREFIX}{event.anonymous}"
    event.at = at
    if not event.message_id:
        event.message_id = place_id(event.file, event.line, at)
    return True


def _view(event: PlainLine) -> bool:
    """Turn a page or screen call into an event, as the Gateway does; return whether it is an ordinary one."""
    for field, value in (("name", event.name), ("category", event.category)):
        if value in (None, ""):
            continue
        if not isinstance(value, str) or len(value) > MAX_ID_LENGTH:
            return False
        event.attributes = {**event.attributes, field: value}
    event.event = VIEWS[event.type]
    return True
