"""docs/edge.md says what is so: its tables are those of the code."""

import ast
import re
from collections.abc import Iterator

from decider.note_size import MAX_NOTE_BYTES
from decider.policy import FRESH_MS
from gateway import body, tracking
from gateway.routes import ROUTES
from shared import errors, user_ids
from shared.errors import OpportuneError
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "edge.md").read_text(encoding="utf-8")
# Raised below the handler, where the Gateway calls others.
SHARED = ROOT / "functions" / "shared"
SOURCES = [*(ROOT / "functions" / "gateway").glob("*.py"), SHARED / "invoke.py", SHARED / "user_ids.py"]
ERRORS = {
    name: each for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, OpportuneError)
}


def table(header: str) -> list[list[str]]:
    """Return the rows below *header*."""
    (rows,) = re.findall(rf"^\| {header} .*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", TEXT, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]


def raised() -> Iterator[tuple[int, str]]:
    """Yield status and code of every error that the sources make."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                given = [word.value for word in node.keywords if word.arg == "code"]
                kind = ERRORS[node.func.id]
                code = given[0] if given else ast.Constant(kind.code)
                if isinstance(code, ast.Constant):
                    yield kind.status, str(code.value)


def test_every_address_is_listed() -> None:
    """With its short paths and the words of the API's description."""
    listed = [(re.findall(r"/[^`]*", cell), cell.split()[0].strip("`"), meaning) for cell, meaning in table("address")]
    assert listed == [(list(route.paths), route.method, route.summary) for route in ROUTES]


def test_every_limit_is_the_codes() -> None:
    """In the order of the table."""
    assert [int(value.replace(",", "")) for _, value in table("limit")] == [
        body.MAX_EVENT_BYTES,
        body.MAX_BATCH_BYTES,
        tracking.MAX_BATCH_EVENTS,
        body.MAX_DEPTH,
        user_ids.MAX_ID_LENGTH,
        tracking.MAX_MESSAGE_ID_LENGTH,
        FRESH_MS / 1000,
        MAX_NOTE_BYTES,
    ]


def test_every_code_is_listed() -> None:
    """With its status; no code is missing, and none is there that nothing answers."""
    listed = {(int(status), code.strip("`")) for status, code, _ in table("status")}
    # `_get_object` raises with the code that it is given.
    passed_on = {(400, "invalid_properties"), (400, "invalid_traits")}
    assert listed == set(raised()) | passed_on
    assert len(listed) == len(table("status"))
