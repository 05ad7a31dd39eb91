"""Read a text file, gzipped or not, line by line in constant memory, and keep the position and text of each record."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from shared.errors import InvalidRequest
from shared.files import open_regular

MAX_LINE = 1024 * 1024  # characters
GZIP_MAGIC = b"\x1f\x8b"


class InvalidRecord(Exception):
    """A record that cannot be imported. The message is the reason that users see."""


class Record(NamedTuple):
    """The place of a record, such as ``7`` or ``part-3.gz:7``, and its text as it is in the file."""

    place: str
    text: str


class Lines:
    """The lines of an open file.

    Iterating raises `InvalidRecord` for a line that is too long. The next iteration continues after it.
    """

    def __init__(self, text: io.TextIOWrapper, raw: BinaryIO, prefix: str = "") -> None:
        self._text = text
        self._raw = raw
        self._prefix = prefix
        self._number = 0
        self._first = 1
        self._pending: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith("\n"):
                line = self._text.readline(MAX_LINE)
            self._pending.clear()
            raise InvalidRecord(f"the line is longer than {MAX_LINE} characters")
        self._pending.append(line)
        return line

    def take_record(self) -> Record:
        """Return the lines read since the last call as one record. Its place is that of the first line."""
        record = Record(f"{self._prefix}{self._first}", "".join(self._pending).rstrip("\r\n"))
        self._first = self._number + 1
        self._pending.clear()
        return record

    def bytes_read(self) -> int:
        """Return how many bytes of the file have been read, counted before decompression."""
        return self._raw.tell()


@contextmanager
def open_lines(path: Path, prefix: str = "") -> Iterator[Lines]:
    """Open *path*; decompress it if its name or its first bytes say gzip. Every place begins with *prefix*.

    Raise `InvalidRequest` if the file cannot be read or is truncated.
    """
    try:
        with open_regular(path) as raw:
            is_gzip = path.suffix.lower() == ".gz" or raw.peek(2)[:2] == GZIP_MAGIC
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if is_gzip else raw
            # Bytes that are not UTF-8 become surrogates, so that only their record is rejected (`require_utf8`).
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
            yield Lines(text, raw, prefix)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidRequest(f"{path.name}: the compressed file is damaged or truncated") from error
    except OSError as error:
        raise InvalidRequest(f"{path.name}: {error.strerror or error}") from error


def require_utf8(*texts: str) -> None:
    """Raise `InvalidRecord` if a text was not UTF-8 in the file."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord("not UTF-8") from error
