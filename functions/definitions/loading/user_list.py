"""Read a file of user ids, one per line: the `list` of a group, or an upload."""

import re
from collections.abc import Iterator
from pathlib import Path

from definitions.loading.problems import InvalidFiles, Problem
from definitions.loading.yaml_source import read_text
from shared.errors import InvalidRequest
from shared.user_ids import read_user_id

MAX_BYTES = 500_000_000
HEADERS = frozenset({"user_id", "User.UserId"})  # headers in exports, ours and Pinpoint's


def read(file: Path) -> list[str]:
    """Return the user ids in *file*, each once and in order; raises `InvalidFiles`.

    Surrounding spaces, empty lines and a header are skipped.
    """
    users = list(dict.fromkeys(_lines(file)))
    if not users:
        raise InvalidFiles([Problem(str(file), 1, 1, "", "contains no user id: write one per line")])
    return users


def _lines(file: Path) -> Iterator[str]:
    for number, line in enumerate(read_text(file, max_bytes=MAX_BYTES).splitlines(), start=1):
        user = line.strip()
        message = ""
        if re.search(r"[,;\t]", user):
            message = "has several columns: write one user id per line"
        elif user:
            try:
                read_user_id(user, "user id")
            except InvalidRequest as error:
                message = error.message
        if message:
            raise InvalidFiles([Problem(str(file), number, 1, "", message)])
        if user and not (number == 1 and user in HEADERS):
            yield user
