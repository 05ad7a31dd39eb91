"""The rejects file: every row that was not imported, unchanged, with its line and the reason in front.

It can be corrected and imported. An import ignores the two added fields. Rows that it rejects again get new ones.
"""

import csv
import io
import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from opportune.audiences.customers.lines import Record
from opportune.audiences.customers.rows import REJECT_FIELDS, Reject, format_suffix
from shared.errors import InvalidRequest

_ADDED_CELLS = re.compile(r'[^,"]*,("(?:[^"]|"")*"|[^,"]*),')
_ADDED_FIELDS = re.compile(r'\{\s*"_line":"[^"]*",\s*"_reason":"(?:\\.|[^"\\])*",?')


def default_path(path: Path) -> Path:
    """Return the rejects file beside *path*: ``customers.rejects.csv`` for ``customers.csv.gz``."""
    name = path.name.removesuffix(".gz")
    suffix = format_suffix(path) if path.is_file() else ""
    return path.with_name(f"{name.removesuffix(suffix)}.rejects{suffix or '.ndjson'}")


class RejectsFile:
    """Writes rejects to *path*, which is created with the first one. *header*: of the CSV that they come from."""

    def __init__(self, path: Path, header: list[str] | None) -> None:
        self.path = path
        self._columns = [column for column in header if column not in REJECT_FIELDS] if header else None
        self._has_added_cells = header is not None and tuple(header[:2]) == REJECT_FIELDS
        self._open_files = ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open_files.close()

    def add(self, reject: Reject) -> None:
        """Write a line for each record of *reject*."""
        file = self._file = self._file or self._create()
        for record in reject.records:
            line = self._json_line if self._columns is None else self._csv_line
            file.write(line(record, reject.reason) + "\n")

    def _create(self) -> TextIO:
        try:
            file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise InvalidRequest(f"{self.path}: {error.strerror}; name another file with --rejects") from error
        if self._columns is not None:
            file.write(_csv_cells(*REJECT_FIELDS, *self._columns) + "\n")
        return self._open_files.enter_context(file)

    def _csv_line(self, record: Record, reason: str) -> str:
        text = _ADDED_CELLS.sub("", record.text, count=1) if self._has_added_cells else record.text
        return f"{_csv_cells(record.place, reason)},{text}"

    def _json_line(self, record: Record, reason: str) -> str:
        text = _ADDED_FIELDS.sub("{", record.text.strip(), count=1)
        fields = f'"_line":{json.dumps(record.place)},"_reason":{json.dumps(reason)}'
        if not text.startswith("{"):
            return f'{{{fields},"_row":{json.dumps(text)}}}'
        rest = text[1:].lstrip()
        return f"{{{fields}{'' if rest == '}' else ','}{rest}"


def _csv_cells(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
