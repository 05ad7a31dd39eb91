"""docs/delivery.md says which single fault can lose or double an effect, and each cell names tests that exist.

The class of fault: a promise in a table that no test shows, or a test that was renamed and is no longer there.
"""

import ast
import re
from functools import cache

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
HEADER = "| effect | what can lose it | what can double it |"
EFFECTS = [
    *("popup in the response", "popup offered again"),
    *("e-mail at once", "SMS at once", "push at once", "webhook at once"),
    *("delayed message", "absence", "message held for quiet hours"),
    *("unsubscribe", "customer write", "target refresh", "forget", "cancellation"),
]


def rows() -> list[list[str]]:
    """Return the cells of the table, row by row."""
    (found,) = re.findall(rf"^{re.escape(HEADER)}\n\|[-|]+\|\n((?:\|.*\|\n)+)", TEXT, flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found.splitlines()]


@cache
def known_tests() -> frozenset[str]:
    """Return the names of all tests."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py")]
    return frozenset(
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_every_effect_has_a_row() -> None:
    """In the order of this list, once each, with three cells."""
    assert [row[0] for row in rows()] == EFFECTS
    assert {len(row) for row in rows()} == {3}


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_cell_names_tests_that_exist(effect: str) -> None:
    """A cell without a test, or with the name of a test that is gone, is a promise that nothing shows."""
    (row,) = [row for row in rows() if row[0] == effect]
    for cell in row[1:]:
        named = set(re.findall(r"`(test_\w+)`", cell))
        assert named, f"{effect}: no test in '{cell}'"
        assert named <= known_tests(), f"{effect}: {sorted(named - known_tests())} do not exist"


def test_names_are_unambiguous() -> None:
    """A name that two modules use would not say which test is meant."""
    named = {name for row in rows() for name in re.findall(r"`(test_\w+)`", " ".join(row))}
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name: sum(f"def {name}(" in text for text in files) for name in named} == dict.fromkeys(named, 1)
