"""The rows of a customers file: read and checked; each a customer or a reason why not."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from opportune.audiences.customers.lines import Broken, Lines, Record, check_text, opened
from opportune.audiences.customers.values import parse_date
from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import InvalidRequest

T = TypeVar("T")
R = TypeVar("R")
CHANNELS = ("email", "sms", "push", "webhook")
DEEPEST = 32  # objects and lists in each other; MongoDB takes a hundred
MARKS = ("_line", "_reason")  # what a rejects file adds to a row


class Row(NamedTuple):
    """One customer: user id, attributes, what it was read from, and the channels opted out of."""

    user: str
    attributes: dict[str, Any]
    records: tuple[Record, ...]
    opted_out: tuple[str, ...] = ()


class Reject(NamedTuple):
    """What was not imported, and why."""

    records: tuple[Record, ...]
    reason: str


class Rows(NamedTuple):
    """The rows of an open file, and how far it is read.

    ``untyped``: text may stand for a number, a date, true or false. ``header``: of a CSV. ``left_out``: what is in
    the file and no customer, by what it is.
    """

    found: Iterator[Row | Reject]
    bytes_read: Callable[[], int]
    untyped: bool
    header: list[str] | None = None
    left_out: Mapping[str, int] = {}


@contextmanager
def open_rows(path: Path, id_column: str) -> Iterator[Rows]:
    """Open *path* by its suffixes; raises `InvalidRequest` for a file that is not what they say."""
    parse = PARSERS.get(kind(path))
    if parse is None:
        raise InvalidRequest(f"{path.name}: the name must end in {', '.join(PARSERS)}, with or without .gz")
    with opened(path) as lines:
        yield parse(lines, id_column, path.name)


def kind(path: Path) -> str:
    """Return the suffix that names the format, ``.gz`` aside."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next(iter((suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes)[-1:]), "")


def each(source: Iterator[T], lines: Lines, make: Callable[[T, Record], R | None]) -> Iterator[R | Reject]:
    """Yield what *make* makes of each of *source*; what is broken is rejected, and the rest goes on."""
    while True:
        try:
            found = next(source)
        except StopIteration:
            return
        except (Broken, csv.Error) as error:
            yield Reject((lines.record(),), str(error))
            continue
        record = lines.record()
        try:
            made = make(found, record)
        except Broken as error:
            yield Reject((record,), str(error))
        else:
            if made is not None:
                yield made


def read_header(cells: Iterator[list[str]], name: str) -> list[str]:
    """Return the columns of a CSV; raises `InvalidRequest` where they cannot be read."""
    try:
        header = [column.strip() for column in next(cells, [])]
        check_text(*header)
    except (Broken, csv.Error) as error:
        raise InvalidRequest(f"{name}: header: {error}") from error
    return header


def check_user(user: Any, field: str) -> str:
    """Return *user* as a user id; raises `Broken`."""
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    checked = user.strip() if isinstance(user, str) else ""
    if not checked:
        raise Broken(f"no {field}")
    if checked.startswith(ANONYMOUS_PREFIX):
        raise Broken(f"{field} begins with the reserved {ANONYMOUS_PREFIX}")
    return checked


def decode(line: str) -> dict[str, Any]:
    """Return the object in a line of JSON; raises `Broken`."""
    check_text(line)
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Broken(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Broken("not a JSON object")
    return found


def _csv(lines: Lines, id_column: str, name: str) -> Rows:
    cells = csv.reader(lines, strict=True)
    header = read_header(cells, name)
    try:
        for column in header:
            _check_name(column)
    except Broken as error:
        raise InvalidRequest(f"{name}: header: {error}") from error
    if id_column not in header:
        shown = ", ".join(header[:10]) + (", …" if len(header) > 10 else "")
        advice = "columns must be separated by commas" if ";" in shown or "\t" in shown else "--id-column names another"
        raise InvalidRequest(
            f"{name}: the header has no column {id_column!r}: {advice}; known: {shown}"
            if any(header)
            else f"{name}: is empty: its first line names the columns"
        )
    if len(set(header)) < len(header):
        raise InvalidRequest(f"{name}: the header names a column twice")
    lines.record()

    def make(found: list[str], record: Record) -> Row | None:
        if not found:
            return None  # an empty line
        if len(found) != len(header):
            raise Broken(f"{len(found)} columns instead of {len(header)}")
        check_text(record.text)
        values = {column: cell.strip() for column, cell in zip(header, found, strict=True) if cell}
        user = check_user(values.pop(id_column, ""), id_column)
        return Row(user, {name: value for name, value in values.items() if value and name not in MARKS}, (record,))

    return Rows(each(cells, lines, make), lines.bytes_read, untyped=True, header=header)


def _ndjson(lines: Lines, id_column: str, name: str) -> Rows:  # noqa: ARG001 - as _csv
    def make(line: str, record: Record) -> Row | None:
        if not line.strip():
            return None
        attributes = decode(line)
        for mark in MARKS:
            attributes.pop(mark, None)
        user = attributes.pop(id_column, None)
        opted_out: tuple[str, ...] = ()
        if isinstance(attributes.get("attributes"), dict):
            rest, attributes = attributes, attributes.pop("attributes")
            opted_out = _channels(rest.pop("opted_out", []))
            if rest:
                raise Broken(f"{', '.join(sorted(rest))} beside attributes")
        checked = check_user(user, id_column)
        values = {key: each for key, each in _values(attributes).items() if each is not None}
        return Row(checked, values, (record,), opted_out)

    return Rows(each(iter(lines), lines, make), lines.bytes_read, untyped=False)


PARSERS: dict[str, Callable[[Lines, str, str], Rows]] = {".csv": _csv, ".ndjson": _ndjson, ".jsonl": _ndjson}


def _channels(opted_out: Any) -> tuple[str, ...]:
    if not isinstance(opted_out, list) or any(each not in CHANNELS for each in opted_out):
        raise Broken(f"opted_out is a list of channels: {', '.join(CHANNELS)}")
    return tuple(opted_out)


def _values(attributes: dict[str, Any]) -> dict[str, Any]:
    return {_check_name(name): _value(value) for name, value in attributes.items()}


def _value(value: Any, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise Broken(f"nested deeper than {DEEPEST}")
    if isinstance(value, dict):
        return {_check_name(name): _inner(_value(each, depth + 1)) for name, each in value.items()}
    if isinstance(value, list):
        return [_inner(_value(each, depth + 1)) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Broken("a whole number is too big")
    return value


def _inner(value: Any) -> Any:
    """Return a value inside of an object or a list, where no type is kept: text that says a date is one."""
    return (parse_date(value) or value) if isinstance(value, str) else value


def _check_name(name: str) -> str:
    if not name or "$" in name or "." in name or "\0" in name:
        raise Broken(f"attribute name {name!r}: empty, or with '$', '.' or NUL")
    return name
