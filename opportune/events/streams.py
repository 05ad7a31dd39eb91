"""Read recorded events from NDJSON of tracking-API messages, or CSV with a column mapping. Files may be gzipped."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from opportune.events import csv_rows, ndjson
from opportune.events.csv_rows import parse_map, typed
from opportune.events.ndjson import CHUNK
from opportune.events.recorded import Call, InvalidStream, Recorded
from shared.files import open_regular

__all__ = ["CHUNK", "Call", "InvalidStream", "Recorded", "parse_map", "read_calls", "read_events", "typed"]


def read_events(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Recorded]:
    """Yield the events and logins of *path* in the order of the file. Raises `InvalidStream` at the first bad line.

    A line counts for what the Gateway would read in it, and is bad if the Gateway would refuse it.
    The header and *mapping* of a ``.csv`` (or ``.csv.gz``) file name its columns. Unmapped columns become attributes;
    a value that looks like a number becomes one. An event without a message id gets one from its place in the file,
    so a file that is sent twice counts once.
    """
    return chain.from_iterable(_read(path, ndjson.read_blocks, csv_rows.read_blocks, mapping or {}))


def read_calls(path: Path, mapping: Mapping[str, str] | None = None) -> Iterator[Call]:
    """Yield all tracking messages of *path*, as they were written. Raises `InvalidStream` like `read_events`."""
    return _read(path, ndjson.read_calls, csv_rows.read_calls, mapping or {})


def _read(path: Path, read_ndjson: Any, read_csv: Any, mapping: Mapping[str, str]) -> Iterator[Any]:
    try:
        with _open(path) as file:
            if path.name.removesuffix(".gz").endswith(".csv"):
                yield from read_csv(file, path.name, mapping)
            else:
                yield from read_ndjson(file, path.name)
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
