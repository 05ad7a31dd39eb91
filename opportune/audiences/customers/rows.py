"""Read the rows of a customers file. Each becomes a customer, or a reject with the reason."""

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from opportune.audiences.customers.contacts import contact_name
from opportune.audiences.customers.lines import InvalidRecord, Lines, Record, open_lines, require_utf8
from opportune.audiences.customers.values import parse_date
from shared.channels import OUTBOUND
from shared.errors import InvalidRequest
from shared.user_ids import read_user_id

T = TypeVar("T")
R = TypeVar("R")
MAX_NESTING = 32  # of objects and lists; MongoDB allows 100
REJECT_FIELDS = ("_line", "_reason")  # that a rejects file adds to each row


class Row(NamedTuple):
    """One customer.

    user: the user id.
    attributes: the attributes, not yet converted to their types.
    records: the records of the file that the customer was read from.
    opted_out: the channels that the customer has opted out of.
    """

    user: str
    attributes: dict[str, Any]
    records: tuple[Record, ...]
    opted_out: tuple[str, ...] = ()


class Reject(NamedTuple):
    """Records that were not imported, and the reason."""

    records: tuple[Record, ...]
    reason: str


class RowSource(NamedTuple):
    """An open file of customers.

    rows: its rows, read while they are iterated.
    bytes_read: returns how many bytes of the file have been read.
    untyped: whether text may stand for a number, a boolean or a date.
    header: the columns, if the file is a CSV.
    left_out: how many records are not customers, by kind.
    renamed: the columns that are read as an attribute of another name, such as Email.
    """

    rows: Iterator[Row | Reject]
    bytes_read: Callable[[], int]
    untyped: bool
    header: list[str] | None = None
    left_out: Mapping[str, int] = {}
    renamed: Mapping[str, str] = {}


@contextmanager
def open_rows(path: Path, id_column: str) -> Iterator[RowSource]:
    """Open *path* in the format that its suffix names; raise `InvalidRequest` if it has another format."""
    parse = FORMATS.get(format_suffix(path))
    if parse is None:
        raise InvalidRequest(f"{path.name}: the file name must end in {', '.join(FORMATS)}, with or without .gz")
    with open_lines(path) as lines:
        yield parse(lines, id_column, path.name)


def format_suffix(path: Path) -> str:
    """Return the suffix that names the format, in lower case and without ``.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next(iter((suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes)[-1:]), "")


def parse_each(source: Iterator[T], lines: Lines, parse: Callable[[T, Record], R | None]) -> Iterator[R | Reject]:
    """Yield what *parse* returns for each of *source*, and a reject for each record that it cannot parse."""
    while True:
        try:
            unparsed = next(source)
        except StopIteration:
            return
        except (InvalidRecord, csv.Error) as error:
            yield Reject((lines.take_record(),), str(error))
            continue
        record = lines.take_record()
        try:
            parsed = parse(unparsed, record)
        except InvalidRecord as error:
            yield Reject((record,), str(error))
        else:
            if parsed is not None:
                yield parsed


def read_header(cells: Iterator[list[str]], name: str) -> list[str]:
    """Return the columns of the CSV file *name*; raise `InvalidRequest` if they cannot be read."""
    try:
        header = [column.strip() for column in next(cells, [])]
        require_utf8(*header)
    except (InvalidRecord, csv.Error) as error:
        raise InvalidRequest(f"{name}: header: {error}") from error
    return header


def parse_user_id(value: Any, field: str) -> str:
    """Return the user id in *field*; raise `InvalidRecord` if *value* is not one."""
    try:
        user = read_user_id(value.strip() if isinstance(value, str) else value, field)
    except InvalidRequest as error:
        raise InvalidRecord(error.message) from error
    if not user:
        raise InvalidRecord(f"no {field}")
    return user


def decode_object(line: str) -> dict[str, Any]:
    """Return the object in a line of JSON; raise `InvalidRecord` if there is none."""
    require_utf8(line)
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRecord(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRecord("not a JSON object")
    return value


def check_width(cells: list[str], header: list[str]) -> None:
    """Raise `InvalidRecord` if a CSV row has more or fewer cells than *header*."""
    if len(cells) != len(header):
        raise InvalidRecord(f"expected {len(header)} columns, got {len(cells)}")


def _open_csv(lines: Lines, id_column: str, name: str) -> RowSource:
    cells = csv.reader(lines, strict=True)
    header = read_header(cells, name)
    _check_header(header, id_column, name)
    renamed = _renamed(header, id_column)
    columns = [renamed.get(column, column) for column in header]
    lines.take_record()

    def parse(found: list[str], record: Record) -> Row | None:
        if not found:
            return None  # an empty line
        check_width(found, header)
        require_utf8(record.text)
        values = {column: cell.strip() for column, cell in zip(columns, found, strict=True) if cell}
        user = parse_user_id(values.pop(id_column, ""), id_column)
        attributes = {name: value for name, value in values.items() if value and name not in REJECT_FIELDS}
        return Row(user, attributes, (record,))

    return RowSource(parse_each(cells, lines, parse), lines.bytes_read, untyped=True, header=header, renamed=renamed)


def _renamed(columns: Collection[str], id_column: str) -> dict[str, str]:
    """Return the contact for each of *columns* that names one in another way, unless its own column is there, too."""
    renamed: dict[str, str] = {}
    for column in columns:
        contact = None if column == id_column else contact_name(column)
        if contact is not None and contact not in (*columns, *renamed.values()):
            renamed[column] = contact
    return renamed


def _check_header(header: list[str], id_column: str, name: str) -> None:
    if not any(header):
        raise InvalidRequest(f"{name}: the file is empty; its first line must name the columns")
    try:
        for column in header:
            _check_name(column)
    except InvalidRecord as error:
        raise InvalidRequest(f"{name}: header: {error}") from error
    if id_column not in header:
        shown = ", ".join(header[:10]) + (", …" if len(header) > 10 else "")
        advice = "separate columns by commas" if ";" in shown or "\t" in shown else "name another with --id-column"
        raise InvalidRequest(f"{name}: header: no column {id_column!r}: {advice}; known: {shown}")
    repeated = next((column for column in header if header.count(column) > 1), None)
    if repeated is not None:
        raise InvalidRequest(f"{name}: header: the column {repeated!r} appears twice")


def _open_ndjson(lines: Lines, id_column: str, name: str) -> RowSource:  # noqa: ARG001 - the signature of FORMATS
    renamed: dict[str, str] = {}

    def parse(line: str, record: Record) -> Row | None:
        if not line.strip():
            return None
        attributes = decode_object(line)
        for field in REJECT_FIELDS:
            attributes.pop(field, None)
        user = attributes.pop(id_column, None)
        if isinstance(attributes.get("traits"), dict):  # an `identify` of Segment
            user = attributes.get("userId") if user is None else user
            attributes = attributes["traits"]
        opted_out: tuple[str, ...] = ()
        if isinstance(attributes.get("attributes"), dict):
            rest, attributes = attributes, attributes.pop("attributes")
            opted_out = _parse_channels(rest.pop("opted_out", []))
            if rest:
                raise InvalidRecord(f"unexpected beside 'attributes': {', '.join(sorted(rest))}")
        user = parse_user_id(user, id_column)
        found = _renamed(attributes, id_column)
        renamed.update(found)
        values = {_check_name(found.get(name, name)): _parse_value(value) for name, value in attributes.items()}
        return Row(user, {name: value for name, value in values.items() if value is not None}, (record,), opted_out)

    return RowSource(parse_each(iter(lines), lines, parse), lines.bytes_read, untyped=False, renamed=renamed)


FORMATS: dict[str, Callable[[Lines, str, str], RowSource]] = {
    ".csv": _open_csv,
    ".ndjson": _open_ndjson,
    ".jsonl": _open_ndjson,
}


def _parse_channels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or any(each not in OUTBOUND for each in value):
        raise InvalidRecord(f"opted_out: expected a list of channels: {', '.join(OUTBOUND)}")
    return tuple(value)


def _parse_value(value: Any, depth: int = 0) -> Any:
    if depth > MAX_NESTING:
        raise InvalidRecord(f"nested more than {MAX_NESTING} levels deep")
    if isinstance(value, dict):
        return {_check_name(name): _parse_date(_parse_value(each, depth + 1)) for name, each in value.items()}
    if isinstance(value, list):
        return [_parse_date(_parse_value(each, depth + 1)) for each in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidRecord("an integer is too large for 64 bits: write it as text")
    return value


def _parse_date(value: Any) -> Any:
    """Return text that is a date as a date. No types are stored for values inside an object or a list."""
    return (parse_date(value) or value) if isinstance(value, str) else value


def _check_name(name: str) -> str:
    if not name or "$" in name or "." in name or "\0" in name:
        raise InvalidRecord(f"attribute name {name!r}: must not be empty or contain '$', '.' or NUL")
    return name
