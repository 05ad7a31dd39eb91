"""Endpoints as Amazon Pinpoint exports and imports them: JSON lines or CSV, one file or a folder of parts.

https://docs.aws.amazon.com/pinpoint/latest/apireference/apps-application-id-endpoints-endpoint-id.html
https://docs.aws.amazon.com/pinpoint/latest/userguide/segments-importing.html
"""

import csv
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from opportune.audiences.customers.lines import Broken, Lines, Record, check_text, opened
from opportune.audiences.customers.rows import MARKS, Reject, decode, each, read_header
from shared.errors import InvalidRequest

USER_ID = "User.UserId"
_TEXTS = ("Address", "ChannelType", "EffectiveDate", "EndpointStatus", "Id", "OptOut")
_PASSED_OVER = ("ApplicationId", "CohortId", "CreationDate", "RequestId", *MARKS)
Values = dict[str, list[str | int | float | bool | None] | None]


class User(msgspec.Struct, rename="pascal", omit_defaults=True):
    """Whose endpoint it is."""

    user_id: str | None = None
    user_attributes: Values | None = None


class Endpoint(msgspec.Struct, rename="pascal", omit_defaults=True):
    """One address in one channel, with what is known of its user; other fields of Pinpoint's are passed over."""

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


class Found(NamedTuple):
    """An endpoint and the record it is from."""

    endpoint: Endpoint
    record: Record


def is_export(path: Path) -> bool:
    """Return whether *path* begins like a file of endpoints, or a folder of such; raises `InvalidRequest`."""
    for part in parts(path):
        with opened(part) as lines:
            try:
                line = next(lines, "")
                if line.lstrip().startswith("{"):
                    fields = decode(line)
                    return "ChannelType" in fields or "UserId" in (fields.get("User") or ())
                header = [column.strip() for column in next(csv.reader([line]), [])]
                return "ChannelType" in header or USER_ID in header
            except (Broken, csv.Error, TypeError):
                return False
    return False


def parts(path: Path) -> list[Path]:
    """Return the files of an export, in the order of their names."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return sorted(each for each in path.rglob("*") if each.is_file() and each.name[0] not in "._")


def endpoints(path: Path, progress: Callable[[int], None]) -> Iterator[Found | Reject]:
    """Yield the endpoints in *path* in order; *progress* is called now and then with the bytes read so far."""
    before = 0
    for part in parts(path):
        place = f"{part.relative_to(path).as_posix()}:" if path.is_dir() else ""
        with opened(part, place) as lines:
            for number, found in enumerate(_endpoints(lines, part.name)):
                yield found
                if number % 1000 == 0:
                    progress(before + lines.bytes_read())
        before += part.stat().st_size
        progress(before)


def _endpoints(lines: Lines, name: str) -> Iterator[Found | Reject]:
    first = next(lines, "")
    again = chain([first] if first else (), lines)
    if first.lstrip().startswith("{"):
        several = each(again, lines, _from_json)
    else:
        cells = csv.reader(again, strict=True)
        header = read_header(cells, name)
        _check_columns(header, name)
        lines.record()
        several = each(cells, lines, lambda found, record: _from_csv(header, found, record))
    for one in several:
        if isinstance(one, Reject):
            yield one
        else:
            yield from one


def _from_json(line: str, record: Record) -> list[Found] | None:
    if not line.strip():
        return None
    try:
        return [Found(msgspec.convert(decode(line), Endpoint), record)]
    except msgspec.ValidationError as error:
        raise Broken(f"no endpoint: {error}") from error


def _check_columns(header: list[str], name: str) -> None:
    for column in header:
        group, _, field = column.partition(".")
        if column not in (*_TEXTS, *_PASSED_OVER, USER_ID) and not (field and group in _GROUPS):
            raise InvalidRequest(f"{name}: header: {column!r} is no column of a file of endpoints")


def _from_csv(header: list[str], cells: list[str], record: Record) -> list[Found] | None:
    if not cells:
        return None
    if len(cells) != len(header):
        raise Broken(f"{len(cells)} columns instead of {len(header)}")
    check_text(record.text)
    given = [(column, cell.strip()) for column, cell in zip(header, cells, strict=True) if cell.strip()]
    if {column for column in header if column not in MARKS} == {USER_ID}:
        # A file of user ids may have several of them in a line.
        users = [user for column, cell in given if column == USER_ID for user in cell.split()]
        return [_in_json({"User": {"UserId": user}}, record) for user in users]
    fields: dict[str, Any] = {}
    for column, cell in given:
        if column == USER_ID:
            fields.setdefault("User", {})["UserId"] = cell
        elif column in _TEXTS:
            fields[column] = cell
        elif "." in column:
            group, _, name = column.partition(".")
            _GROUPS[group](fields, name, cell)
    return [_in_json(fields, record)]


def _in_json(fields: dict[str, Any], record: Record) -> Found:
    """Return the endpoint; as a reject it is a line of JSON, for the parts of an export have headers of their own."""
    text = msgspec.json.encode(fields).decode()
    return Found(msgspec.convert(fields, Endpoint), Record(record.place, text))


def _attribute(fields: dict[str, Any], name: str, cell: str) -> None:
    # A column that stands twice is an attribute with two values.
    fields.setdefault("Attributes", {}).setdefault(name, []).append(cell)


def _user(fields: dict[str, Any], name: str, cell: str) -> None:
    group, _, attribute = name.partition(".")
    if group != "UserAttributes" or not attribute:
        raise Broken(f"User.{name}: write User.UserAttributes.{name}")
    of_user = fields.setdefault("User", {}).setdefault("UserAttributes", {})
    of_user.setdefault(attribute, []).append(cell)


def _metric(fields: dict[str, Any], name: str, cell: str) -> None:
    try:
        fields.setdefault("Metrics", {})[name] = float(cell)
    except ValueError:
        raise Broken(f"Metrics.{name}: {cell!r} is not a number") from None


def _plain(group: str) -> Callable[[dict[str, Any], str, str], None]:
    return lambda fields, name, cell: fields.setdefault(group, {}).update({name: cell})


_GROUPS: dict[str, Callable[[dict[str, Any], str, str], None]] = {
    "Attributes": _attribute,
    "Demographic": _plain("Demographic"),
    "Location": _plain("Location"),
    "Metrics": _metric,
    "User": _user,
}
