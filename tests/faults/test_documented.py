"""What docs/faults.md promises has its tests, and each test stands there."""

import ast
import re
from pathlib import Path

from tests.support.paths import ROOT

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "faults.md"
FAULT = re.compile(r"test_((?:f[0-9]+_)+)")


def known() -> set[str]:
    """Return the names of all tests beside this one."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.glob("test_*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_named_test_exists() -> None:
    """A table that names tests which are gone would promise nothing."""
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert named
    assert named <= known()


def test_every_fault_test_is_named() -> None:
    """A test that does a fault stands in the table, in the row of its fault."""
    rows = [line.split("|") for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| F")]
    table = {cells[1].strip().lower(): set(re.findall(r"`(test_\w+)`", cells[-2])) for cells in rows}
    for name in known():
        for fault in (FAULT.match(name) or [""])[0].removeprefix("test_").strip("_").split("_"):
            assert not fault or name in table.get(fault, set()), name
