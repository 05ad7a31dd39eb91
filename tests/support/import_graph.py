"""The imports between modules of `functions/` and `opportune/`, read from the sources without running them."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tests.support.paths import ROOT

Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Return the path of every product module by its dotted name; a package has the name of its folder."""
    found: dict[str, Path] = {}
    for folder, top in ((ROOT / "functions", ROOT / "functions"), (ROOT / "opportune", ROOT)):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(top).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def import_graph(*, deferred: bool) -> dict[str, set[str]]:
    """Return the product modules that each product module imports.

    *deferred*: include imports inside functions, which run only when the function does.
    """
    known = modules()
    return {name: _imported(path, known, deferred=deferred) - {name} for name, path in known.items()}


def package_graph(graph: Graph) -> dict[str, set[str]]:
    """Return *graph* with the modules of each sub-package, such as `definitions.model`, merged into one node."""
    merged: dict[str, set[str]] = {}
    for name, targets in graph.items():
        node = _package_of(name)
        merged.setdefault(node, set()).update({_package_of(target) for target in targets} - {node})
    return merged


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that can reach each other: Tarjan's strongly connected components."""
    found: list[list[str]] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        path.append(node)
        for target in sorted(graph[node]):
            if target not in order:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in path:
                lowest[node] = min(lowest[node], order[target])
        if lowest[node] == order[node]:
            start = path.index(node)
            if len(path) - start > 1:
                found.append(sorted(path[start:]))
            del path[start:]

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return found


def _package_of(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name


def _imported(path: Path, known: Iterable[str], *, deferred: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = {name for node in (ast.walk(tree) if deferred else tree.body) for name in _names(node)}
    return named & set(known) | {name.rpartition(".")[0] for name in named - set(known)} & set(known)


def _names(node: ast.AST) -> Iterator[str]:
    """Yield each imported name in full: ``from a import b`` yields ``a.b``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
