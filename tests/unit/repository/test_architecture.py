"""The layout and the imports of the product, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.import_graph import circles, import_graph, package_graph
from tests.support.paths import ROOT

FOLDERS = sorted(path.name for path in (ROOT / "functions").iterdir() if (path / "__init__.py").is_file())
LAMBDAS = [folder for folder in FOLDERS if (ROOT / "functions" / folder / "app.py").is_file()]
LIBRARIES = {"definitions", "shared"}
# What a folder imports besides itself and `shared`.
ALSO_IMPORTS = {"console": {"definitions"}}
OURS = {*FOLDERS, "opportune", "tests"}
BANNED = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"}
MAX_LINES = 300
MAX_APP_LINES = 25
# Path → the reason it may be longer.
LONGER: dict[str, str] = {}


def modules(*folders: str) -> list[Path]:
    """Return all modules below *folders*."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    """Return a path as it is written from the root."""
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a module imports, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)} imports relatively"
            yield (node.module or "").split(".")[0]


PRODUCT = modules("functions", "opportune")


def test_a_folder_with_an_app_is_a_lambda_and_one_without_is_a_library() -> None:
    """Every folder is one or the other: a Lambda has a handler and a wiring, a library has none of the three."""
    assert set(FOLDERS) - set(LAMBDAS) == LIBRARIES
    for folder in FOLDERS:
        found = {path.name for path in modules(f"functions/{folder}")} & {"app.py", "handler.py", "wiring.py"}
        assert found == ({"app.py", "handler.py", "wiring.py"} if folder in LAMBDAS else set()), folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_function_imports_itself_and_shared(folder: str) -> None:
    """Arrows go from the functions to `shared`, from the console also to `definitions`; never sideways or back."""
    allowed = {folder, "shared"} | ALSO_IMPORTS.get(folder, set())
    for path in modules(f"functions/{folder}"):
        strangers = set(imported(path)) & OURS - allowed
        assert not strangers, f"{name(path)} imports {strangers}"


def test_the_tooling_imports_no_tests() -> None:
    """The tooling may import all of the product, and nothing that checks it."""
    for path in modules("opportune"):
        assert not set(imported(path)) & {"tests", "benchmarks"}, name(path)


def test_no_modules_import_each_other() -> None:
    """No chain of imports leads back to its start; in the functions, not even imports inside functions do."""
    assert circles(import_graph(deferred=False)) == []
    everything = import_graph(deferred=True)
    deployed = {module for module in everything if not module.startswith("opportune")}
    assert circles({module: everything[module] & deployed for module in deployed}) == []


def test_no_packages_import_each_other() -> None:
    """Sub-packages depend on each other in one direction only, such as `definitions.checks` on `definitions.model`."""
    assert circles(package_graph(import_graph(deferred=False))) == []


def test_a_package_imports_nothing() -> None:
    """An `__init__.py` holds no code, so importing one module of a package loads no other."""
    for path in PRODUCT:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body), name(path)


def test_everything_deployed_is_in_a_room() -> None:
    """`functions/` holds packages and nothing else: lock files are in `requirements/`."""
    found = {path.name for path in (ROOT / "functions").iterdir() if not path.name.startswith((".", "__"))}
    assert found == set(FOLDERS)


def test_only_an_app_reads_the_environment() -> None:
    """`os.environ` and `os.getenv` appear in the functions' `app.py` and nowhere else in them."""
    for path in modules("functions"):
        if path.name == "app.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            attribute = node.attr if isinstance(node, ast.Attribute) else None
            names = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            assert not {attribute, *names} & {"environ", "environb", "getenv"}, name(path)


def test_an_app_is_short() -> None:
    """An `app.py` composes and does nothing else."""
    apps = [path for path in modules("functions") if path.name == "app.py"]
    assert sorted(path.parent.name for path in apps) == LAMBDAS
    for path in apps:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_APP_LINES, name(path)


def test_modules_can_be_read_in_one_sitting() -> None:
    """No module exceeds the limit except those with a reason, and each of those does exceed it."""
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PRODUCT}
    assert {path for path, length in lengths.items() if length > MAX_LINES} == LONGER.keys()


def test_names_say_what_a_thing_is() -> None:
    """No module and no class is called a helper, manager, base or utility."""
    for path in PRODUCT:
        assert not set(path.stem.lower().split("_")) & BANNED, name(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                ending = node.name.lower()
                assert not ending.endswith(("utils", "helper", "manager", "util")), f"{name(path)}: {node.name}"


def test_tests_pass_dependencies_and_patch_nothing() -> None:
    """No test takes a fixture that patches the product."""
    for path in modules("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = {argument.arg for argument in node.args.args + node.args.kwonlyargs}
                assert not arguments & {"monkeypatch", "mocker"}, f"{name(path)}: {node.name}"


def test_the_state_machine_is_written_once() -> None:
    """The state machine is a pure function: it calls no Redis command."""
    machine = ROOT / "functions/decider/lua/include/machine.lua"
    assert "redis.call" not in machine.read_text(encoding="utf-8")
