"""Read endpoints as Amazon Pinpoint exports and imports them: JSON lines or CSV, one file or a folder of parts.

https://docs.aws.amazon.com/pinpoint/latest/apireference/apps-application-id-endpoints-endpoint-id.html
https://docs.aws.amazon.com/pinpoint/latest/userguide/segments-importing.html
"""

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from opportune.audiences.customers.lines import InvalidRecord, Lines, Record, open_lines, require_utf8
from opportune.audiences.customers.rows import (
    REJECT_FIELDS,
    Reject,
    check_width,
    decode_object,
    parse_each,
    read_header,
)
from shared.errors import InvalidRequest

USER_ID = "User.UserId"
_TEXTS = ("Address", "ChannelType", "EffectiveDate", "EndpointStatus", "Id", "OptOut")
_IGNORED = ("ApplicationId", "CohortId", "CreationDate", "RequestId", *REJECT_FIELDS)
Values = dict[str, list[str | int | float | bool | None] | None]


class User(msgspec.Struct, rename="pascal", omit_defaults=True):
    """The user of an endpoint."""

    user_id: str | None = None
    user_attributes: Values | None = None


class Endpoint(msgspec.Struct, rename="pascal", omit_defaults=True):
    """An address on one channel, and what Pinpoint stored of its user. Other fields are ignored."""

    id: str | None = None
    address: str | None = None
    channel_type: str | None = None
    effective_date: str | None = None
    endpoint_status: str | None = None
    opt_out: str | None = None
    attributes: Values | None = None
    metrics: dict[str, float | None] | None = None
    demographic: dict[str, str | None] | None = None
    location: dict[str, str | float | None] | None = None
    user: User | None = None


class EndpointRecord(NamedTuple):
    """An endpoint and the record that it was read from."""

    endpoint: Endpoint
    record: Record


def is_export(path: Path) -> bool:
    """Return whether *path*, a file or a folder, begins like an export of endpoints.

    Raise `InvalidRequest` if it cannot be read.
    """
    for part in list_parts(path):
        with open_lines(part) as lines:
            try:
                line = next(lines, "")
                if line.lstrip().startswith("{"):
                    fields = decode_object(line)
                    return "ChannelType" in fields or "UserId" in (fields.get("User") or ())
                header = [column.strip() for column in next(csv.reader([line]), [])]
                return "ChannelType" in header or USER_ID in header
            except (InvalidRecord, csv.Error, TypeError):
                return False
    return False


def list_parts(path: Path) -> list[Path]:
    """Return the files of an export in the order of their names, without hidden files and markers."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return sorted(each for each in path.rglob("*") if each.is_file() and each.name[0] not in "._")


def read_endpoints(path: Path, progress: Callable[[int], None]) -> Iterator[EndpointRecord | Reject]:
    """Yield the endpoints in *path* in order. Call *progress* now and then with the bytes read so far."""
    before = 0
    for part in list_parts(path):
        place = f"{part.relative_to(path).as_posix()}:" if path.is_dir() else ""
        with open_lines(part, place) as lines:
            for number, endpoint in enumerate(_read_part(lines, part.name)):
                yield endpoint
                if number % 1000 == 0:
                    progress(before + lines.bytes_read())
        before += part.stat().st_size
        progress(before)


def _read_part(lines: Lines, name: str) -> Iterator[EndpointRecord | Reject]:
    first = next(lines, "")
    all_lines = chain([first] if first else (), lines)
    if first.lstrip().startswith("{"):
        parsed = parse_each(all_lines, lines, _from_json)
    else:
        rows = csv.reader(all_lines, strict=True)
        header = read_header(rows, name)
        _check_columns(header, name)
        lines.take_record()
        parsed = parse_each(rows, lines, lambda cells, record: _from_csv(header, cells, record))
    for each in parsed:
        if isinstance(each, Reject):
            yield each
        else:
            yield from each


def _from_json(line: str, record: Record) -> list[EndpointRecord] | None:
    if not line.strip():
        return None
    try:
        return [EndpointRecord(msgspec.convert(decode_object(line), Endpoint), record)]
    except msgspec.ValidationError as error:
        raise InvalidRecord(f"not an endpoint: {error}") from error


def _check_columns(header: list[str], name: str) -> None:
    for column in header:
        group, _, field = column.partition(".")
        if column not in (*_TEXTS, *_IGNORED, USER_ID) and not (field and group in _GROUPS):
            raise InvalidRequest(f"{name}: header: {column!r} is not a column of a Pinpoint file: rename or remove it")


def _from_csv(header: list[str], cells: list[str], record: Record) -> list[EndpointRecord] | None:
    if not cells:
        return None
    check_width(cells, header)
    require_utf8(record.text)
    filled = [(column, cell.strip()) for column, cell in zip(header, cells, strict=True) if cell.strip()]
    if {column for column in header if column not in REJECT_FIELDS} == {USER_ID}:
        # A file of nothing but user ids may have several on a line.
        users = [user for column, cell in filled if column == USER_ID for user in cell.split()]
        return [_to_endpoint({"User": {"UserId": user}}, record) for user in users]
    fields: dict[str, Any] = {}
    for column, cell in filled:
        if column == USER_ID:
            fields.setdefault("User", {})["UserId"] = cell
        elif column in _TEXTS:
            fields[column] = cell
        elif "." in column:
            group, _, name = column.partition(".")
            _GROUPS[group](fields, name, cell)
    return [_to_endpoint(fields, record)]


def _to_endpoint(fields: dict[str, Any], record: Record) -> EndpointRecord:
    """Return the endpoint with its record as a line of JSON. Parts with different headers share a rejects file."""
    text = msgspec.json.encode(fields).decode()
    return EndpointRecord(msgspec.convert(fields, Endpoint), Record(record.place, text))


def _add_attribute(fields: dict[str, Any], name: str, cell: str) -> None:
    # A column that appears twice is an attribute with two values.
    fields.setdefault("Attributes", {}).setdefault(name, []).append(cell)


def _add_user_attribute(fields: dict[str, Any], name: str, cell: str) -> None:
    group, _, attribute = name.partition(".")
    if group != "UserAttributes" or not attribute:
        raise InvalidRecord(f"User.{name}: unknown column; write User.UserAttributes.{name}")
    of_user = fields.setdefault("User", {}).setdefault("UserAttributes", {})
    of_user.setdefault(attribute, []).append(cell)


def _add_metric(fields: dict[str, Any], name: str, cell: str) -> None:
    try:
        fields.setdefault("Metrics", {})[name] = float(cell)
    except ValueError:
        raise InvalidRecord(f"Metrics.{name}: expected a number, got {cell!r}") from None


def _add_to(group: str) -> Callable[[dict[str, Any], str, str], None]:
    return lambda fields, name, cell: fields.setdefault(group, {}).update({name: cell})


_GROUPS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "Attributes": _add_attribute,
    "Demographic": _add_to("Demographic"),
    "Location": _add_to("Location"),
    "Metrics": _add_metric,
    "User": _add_user_attribute,
}
