"""The rejects file: every row that was not imported, as it was, with its line and the reason in front.

It can be mended and imported as it is: an import reads past the two marks, and rejects of rejects get new ones.
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
from opportune.audiences.customers.rows import MARKS, Reject, kind
from shared.errors import InvalidRequest

_MARKED_CELLS = re.compile(r'[^,"]*,("(?:[^"]|"")*"|[^,"]*),')
_MARKED_OBJECT = re.compile(r'\{\s*"_line":"[^"]*",\s*"_reason":"(?:\\.|[^"\\])*",?')


def beside(path: Path) -> Path:
    """Return where the rejects of *path* go by default: ``customers.csv.gz`` → ``customers.rejects.csv``."""
    name = path.name.removesuffix(".gz")
    ending = kind(path) if path.is_file() else ""
    return path.with_name(f"{name.removesuffix(ending)}.rejects{ending or '.ndjson'}")


class RejectsFile:
    """Writes rejects to *path*, which is made with the first of them. ``header``: of the CSV they come from."""

    def __init__(self, path: Path, header: list[str] | None) -> None:
        self.path = path
        self._columns = [column for column in header if column not in MARKS] if header else None
        self._marked = header is not None and tuple(header[:2]) == MARKS
        self._open = ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, reject: Reject) -> None:
        """Write one reject: a line for each record it came from."""
        file = self._file = self._file or self._begin()
        for record in reject.records:
            line = self._object if self._columns is None else self._cells
            file.write(line(record, reject.reason) + "\n")

    def _begin(self) -> TextIO:
        try:
            file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise InvalidRequest(f"{self.path}: {error.strerror}; name another file with --rejects") from error
        if self._columns is not None:
            file.write(_joined(*MARKS, *self._columns) + "\n")
        return self._open.enter_context(file)

    def _cells(self, record: Record, reason: str) -> str:
        text = _MARKED_CELLS.sub("", record.text, count=1) if self._marked else record.text
        return f"{_joined(record.place, reason)},{text}"

    def _object(self, record: Record, reason: str) -> str:
        text = _MARKED_OBJECT.sub("{", record.text.strip(), count=1)
        marks = f'"_line":{json.dumps(record.place)},"_reason":{json.dumps(reason)}'
        if not text.startswith("{"):
            return f'{{{marks},"_row":{json.dumps(text)}}}'
        rest = text[1:].lstrip()
        return f"{{{marks}{'' if rest == '}' else ','}{rest}"


def _joined(*cells: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
