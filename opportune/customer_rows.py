"""The rows of a customers file: read, checked, typed; each a customer or a reason why not."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import InvalidRequest

LONGEST_ROW = 1024 * 1024
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?")
BOOLEANS = {"true": True, "false": False}


class Row(NamedTuple):
    """One customer: user id and attributes."""

    user: str
    attributes: dict[str, Any]


class Reject(NamedTuple):
    """A row that was not imported: its number, from 1, and why."""

    row: int
    reason: str


class _Broken(Exception):
    """The reason why a row cannot be imported."""


class Rows:
    """The rows of one open file, and how far it is read."""

    def __init__(self, rows: Iterator[Row | Reject], raw: BinaryIO) -> None:
        self._rows = rows
        self._raw = raw

    def __iter__(self) -> Iterator[Row | Reject]:
        return self._rows

    def bytes_read(self) -> int:
        """Return how many bytes of the file, compressed where it is, have been read."""
        return self._raw.tell()


@contextmanager
def open_rows(path: Path, id_column: str) -> Iterator[Rows]:
    """Open *path* by its suffixes; raises `InvalidRequest` for a file that is not what they say."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    parse = PARSERS.get(kind[0] if kind else "")
    if parse is None:
        raise InvalidRequest(f"{path.name}: the name must end in {', '.join(PARSERS)}, with or without .gz")
    try:
        with path.open("rb") as raw:
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
            # Undecodable bytes become surrogates, which the row that has them is rejected for.
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield Rows(parse(text, id_column, path.name), raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"{path.name}: the compressed file is damaged or cut off") from error
    except OSError as error:
        raise InvalidRequest(f"{path.name}: {error.strerror or error}") from error


def _csv(text: io.TextIOWrapper, id_column: str, name: str) -> Iterator[Row | Reject]:
    lines = csv.reader(text, strict=True)
    header = _header(lines, id_column, name)
    number = 1
    while True:
        number += 1
        try:
            row = _record(next(lines), header, id_column)
        except StopIteration:
            return
        except (_Broken, csv.Error) as error:
            yield Reject(number, str(error))
        else:
            if row is not None:
                yield row


def _header(lines: Iterator[list[str]], id_column: str, name: str) -> list[str]:
    try:
        header = [column.strip() for column in next(lines, [])]
        for column in header:
            _check_name(column)
    except (_Broken, csv.Error) as error:
        raise InvalidRequest(f"{name}: header: {error}") from error
    if id_column not in header:
        raise InvalidRequest(f"{name}: the header has no column {id_column!r}")
    if len(set(header)) < len(header):
        raise InvalidRequest(f"{name}: the header names a column twice")
    return header


def _record(cells: list[str], header: list[str], id_column: str) -> Row | None:
    """Return the customer in one line of a CSV, ``None`` for an empty line."""
    if not cells:
        return None
    if len(cells) != len(header):
        raise _Broken(f"{len(cells)} columns instead of {len(header)}")
    _check_text(*cells)
    values = {column: cell.strip() for column, cell in zip(header, cells, strict=True)}
    user = _user(values.pop(id_column), id_column)
    return Row(user, {column: typed(value) for column, value in values.items() if value})


def _ndjson(text: io.TextIOWrapper, id_column: str, name: str) -> Iterator[Row | Reject]:  # noqa: ARG001 - as _csv
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        try:
            yield _object(line, id_column)
        except _Broken as error:
            yield Reject(number, str(error))


PARSERS: dict[str, Callable[[io.TextIOWrapper, str, str], Iterator[Row | Reject]]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
}


def _object(line: str, id_column: str) -> Row:
    if len(line) > LONGEST_ROW:
        raise _Broken(f"longer than {LONGEST_ROW} characters")
    _check_text(line)
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Broken(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise _Broken("not a JSON object")
    user = row.pop(id_column, None)
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    attributes = row
    if isinstance(row.get("attributes"), dict):
        attributes = row.pop("attributes")
        if row:
            raise _Broken(f"{', '.join(sorted(row))} beside attributes")
    checked = _user(user.strip() if isinstance(user, str) else "", id_column)
    return Row(checked, {key: value for key, value in _values(attributes).items() if value is not None})


def _values(attributes: dict[str, Any]) -> dict[str, Any]:
    checked = {}
    for name, value in attributes.items():
        _check_name(name)
        checked[name] = _value(value)
    return checked


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return _values(value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, str):
        return _date(value) or value
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _Broken("a whole number is too big")
    return value


def typed(text: str) -> Any:
    """Return a CSV value as what it reads like: number, true or false, ISO-8601 date (naive: UTC), or text.

    Digits that a number would lose, as in ``007`` or a 20-digit id, stay text.
    """
    if NUMBER.fullmatch(text):
        number = float(text)
        if text.lstrip("-").isdigit():
            return int(text) if -(2**63) <= int(text) < 2**63 else text
        return number if abs(number) != float("inf") else text
    flag = BOOLEANS.get(text.lower())
    if flag is not None:
        return flag
    return _date(text) or text


def _date(text: str) -> datetime | None:
    if not DATE.fullmatch(text):
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None  # the 31st of February is text


def _user(user: str, id_column: str) -> str:
    if not user:
        raise _Broken(f"no {id_column}")
    if user.startswith(ANONYMOUS_PREFIX):
        raise _Broken(f"{id_column} begins with the reserved {ANONYMOUS_PREFIX}")
    return user


def _check_name(name: str) -> None:
    if not name or "$" in name or "." in name or "\0" in name:
        raise _Broken(f"attribute name {name!r}: empty, or with '$', '.' or NUL")


def _check_text(*texts: str) -> None:
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise _Broken("not UTF-8") from error
