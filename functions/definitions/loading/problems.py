"""Problems in files, each with its place."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from shared.errors import OpportuneError


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong in a file.

    ``line``, ``column``: count from 1.
    ``field``: the path inside the file, such as ``trigger.within``.
    ``level``: ``error``, or ``warning`` for what is allowed but probably a mistake.
    """

    file: str
    line: int
    column: int
    field: str
    message: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        level = "" if self.level == "error" else f"{self.level}: "
        return f"{self.file}:{self.line}:{self.column}: {level}{field}{self.message}"


class InvalidFiles(OpportuneError):
    """Definitions with errors; ``problems`` has all of them, sorted by place."""

    code = "invalid_files"
    status = 422

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))
