"""The packages of definitions import each other in one direction only."""

import ast

from tests.support.paths import ROOT

FOLDER = ROOT / "functions" / "definitions"
# Each package may import itself and the packages of its set.
LAYERS: dict[str, set[str]] = {
    "model": set(),
    "loading": {"model"},
    "compiler": {"model"},
    "checks": {"model", "loading", "compiler"},
    "publishing": {"model", "compiler"},
}


def test_packages_import_in_one_direction() -> None:
    """From checks and publishing down to the model, never back."""
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name[0] != "_"} == LAYERS.keys()
    for package, below in LAYERS.items():
        for path in sorted((FOLDER / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("definitions."):
                    assert str(node.module).split(".")[1] in {package, *below}, f"{path.name} imports {node.module}"
