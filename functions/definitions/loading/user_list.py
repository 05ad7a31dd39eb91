"""A file of user ids, one a line: of a group's `list`, or uploaded."""

import re
from collections.abc import Iterator
from pathlib import Path

from definitions.loading.problems import InvalidFiles, Problem
from definitions.loading.yaml_source import read_text

MAX_BYTES = 500_000_000
LONGEST_ID = 256
HEADERS = frozenset({"user_id", "User.UserId"})  # as exports of customers have it, ours and Pinpoint's


def read(file: Path) -> list[str]:
    """Return the user ids in *file*, each once and in order; raises `InvalidFiles`.

    Spaces around them, empty lines and a header are passed over.
    """
    users = list(dict.fromkeys(_lines(file)))
    if not users:
        raise InvalidFiles([Problem(str(file), 1, 1, "", "has no user id in it: write one per line")])
    return users


def _lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(read_text(file, longest=MAX_BYTES).splitlines(), start=1):
        user = line.strip()
        wrong = ""
        if re.search(r"[,;\t]", user):
            wrong = "has several columns: one user id per line"
        elif len(user) > LONGEST_ID:
            wrong = f"a user id has at most {LONGEST_ID} characters"
        if wrong:
            raise InvalidFiles([Problem(str(file), number, 1, "", wrong)])
        if user and not (number == 1 and user in HEADERS):
            yield user
