"""A file line by line, gzipped or not, in flat memory, and each line with its number and its text."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from shared.errors import InvalidRequest

LONGEST = 1024 * 1024
GZIP = b"\x1f\x8b"


class Broken(Exception):
    """The reason why a record cannot be imported."""


class Record(NamedTuple):
    """Where a record stands, such as ``7`` or ``part-3.gz:7``, and its text as it is in the file."""

    place: str
    text: str


class Lines:
    """The lines of one open file. Iterating raises `Broken` for one that is too long, and goes on after it."""

    def __init__(self, text: io.TextIOWrapper, raw: BinaryIO, prefix: str = "") -> None:
        self._text = text
        self._raw = raw
        self._prefix = prefix
        self._number = 0
        self._first = 1
        self._taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST + 1)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) > LONGEST:
            while line and not line.endswith("\n"):
                line = self._text.readline(LONGEST)
            self._taken.clear()
            raise Broken(f"longer than {LONGEST} characters")
        self._taken.append(line)
        return line

    def record(self) -> Record:
        """Return the lines read since the last call as one record; its place is the first of them."""
        record = Record(f"{self._prefix}{self._first}", "".join(self._taken).rstrip("\r\n"))
        self._first = self._number + 1
        self._taken.clear()
        return record

    def bytes_read(self) -> int:
        """Return how many bytes of the file, compressed where it is, have been read."""
        return self._raw.tell()


@contextmanager
def opened(path: Path, prefix: str = "") -> Iterator[Lines]:
    """Open *path*, unpacked where its name or its first bytes say gzip; *prefix* begins every place.

    Raises `InvalidRequest` for a file that cannot be read, or is cut off.
    """
    try:
        with path.open("rb") as raw:
            packed = path.suffix.lower() == ".gz" or raw.peek(2)[:2] == GZIP
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
            # Undecodable bytes become surrogates, which the record that has them is rejected for.
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield Lines(text, raw, prefix)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"{path.name}: the compressed file is damaged or cut off") from error
    except OSError as error:
        raise InvalidRequest(f"{path.name}: {error.strerror or error}") from error


def check_text(*texts: str) -> None:
    """Raise `Broken` for text that is not UTF-8 in the file."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise Broken("not UTF-8") from error
