"""Read recorded events from NDJSON of tracking-API messages, or CSV with a column mapping.

Files may be gzipped, and several of them may be in a zip archive, as Amplitude exports them.
"""

import csv
import gzip
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from opportune.events import csv_rows, ndjson
from opportune.events.csv_rows import parse_map, typed
from opportune.events.formats import NAMES, SEGMENT
from opportune.events.ndjson import CHUNK
from opportune.events.recorded import Call, InvalidStream, Recorded
from shared.files import open_regular

ENCRYPTED = 1  # the flag of a file in a zip archive
_BAD_ZIP = (zipfile.BadZipFile, NotImplementedError)  # the latter for a compression that is not known

__all__ = [
    "CHUNK",
    "Call",
    "InvalidStream",
    "Recorded",
    "choose_format",
    "parse_map",
    "read_calls",
    "read_events",
    "typed",
]


def read_events(
    path: Path, mapping: Mapping[str, str] | None = None, *, file_format: str = SEGMENT
) -> Iterator[Recorded]:
    """Yield the events and logins of *path* in the order of the file. Raises `InvalidStream` at the first bad line.

    A line counts for what the Gateway would read in it, and is bad if the Gateway would refuse it.
    The header and *mapping* of a ``.csv`` (or ``.csv.gz``) file name its columns. Unmapped columns become attributes;
    a value that looks like a number becomes one. An event without a message id gets one from its place in the file,
    so a file that is sent twice counts once.
    *file_format*: of NDJSON, one of `formats.NAMES`.
    """
    if file_format != SEGMENT and not _is_csv(path):
        calls = read_calls(path, mapping, file_format=file_format)
        return (recorded for call in calls if (recorded := call.recorded) is not None)
    return chain.from_iterable(_read(path, ndjson.read_blocks, csv_rows.read_blocks, mapping or {}))


def read_calls(path: Path, mapping: Mapping[str, str] | None = None, *, file_format: str = SEGMENT) -> Iterator[Call]:
    """Yield all tracking messages of *path*, as they were written. Raises `InvalidStream` like `read_events`."""
    read_ndjson = ndjson.read_calls if file_format == SEGMENT else partial(ndjson.read_export, product=file_format)
    return _read(path, read_ndjson, csv_rows.read_calls, mapping or {})


def choose_format(path: Path, wanted: str) -> str:
    """Return the format *wanted*; if that is empty, the one that the first line of *path* has.

    Raises `InvalidStream` for an unknown name, or if the file cannot be read.
    """
    if wanted and wanted not in NAMES:
        raise InvalidStream(f"--format: {wanted!r} is not one of {', '.join(NAMES)}")
    if wanted or _is_csv(path):
        return wanted or SEGMENT
    return str(next(_read(path, lambda file, name: iter([ndjson.guess_format(file, name)]), None, {})))


def _is_csv(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".csv")


def _read(path: Path, read_ndjson: Any, read_csv: Any, mapping: Mapping[str, str]) -> Iterator[Any]:
    try:
        with open_regular(path) as raw:
            for file, name in _open(raw, path.name):
                if _is_csv(Path(name)):
                    yield from read_csv(file, name, mapping)
                else:
                    yield from read_ndjson(file, name)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError, *_BAD_ZIP) as error:
        raise InvalidStream(f"{path}: cannot be read: {error}") from error


def _open(raw: Any, name: str) -> Iterator[tuple[Any, str]]:
    """Yield the file *raw* and its name; of a zip archive, each file in it in order of their names."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(raw) as archive:
            for member in sorted(archive.infolist(), key=lambda each: each.filename):
                if member.flag_bits & ENCRYPTED:
                    raise InvalidStream(f"{name}: {member.filename} is encrypted: unpack it first")
                if not member.is_dir():
                    with archive.open(member) as inner:
                        yield from _open(inner, PurePosixPath(member.filename).name)
    elif name.endswith(".gz"):
        with gzip.GzipFile(fileobj=raw) as file:
            yield file, name
    else:
        yield raw, name
