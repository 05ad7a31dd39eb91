"""docs/faults.md names a test for each promise, and every test is named there."""

import ast
import re

from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "faults.md"
FAULT = re.compile(r"test_((?:f[0-9]+_)+)")


def known() -> set[str]:
    """Return the names of all tests."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_named_test_exists() -> None:
    """Every test that the table names exists."""
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert named
    assert named <= known()


def test_every_fault_test_is_named() -> None:
    """A test that injects a fault is named in the row of its fault."""
    rows = [line.split("|") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| F")]
    table = {cells[1].strip().lower(): set(re.findall(r"`(test_\w+)`", cells[-2])) for cells in rows}
    for name in known():
        for fault in (FAULT.match(name) or [""])[0].removeprefix("test_").strip("_").split("_"):
            assert not fault or name in table.get(fault, set()), name
