"""Who may know whom, and what may be where: read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROOMS = ("gateway", "decider", "engager", "refresher", "preferences", "definitions", "shared")
OURS = {*ROOMS, "opportune", "tests", "benchmarks"}
BANNED = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common", "misc"}
MAX_LINES = 300
MAX_APP_LINES = 25
# Path → why it may be longer.
LONGER: dict[str, str] = {}


def modules(*folders: str) -> list[Path]:
    """Return all modules below *folders*."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    """Return a path as it is written from the root."""
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a module imports, also inside functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name(path)} imports relatively"
            yield (node.module or "").split(".")[0]


PRODUCT = modules("functions", "opportune")


@pytest.mark.parametrize("room", ROOMS)
def test_a_function_knows_itself_and_what_is_shared(room: str) -> None:
    """Arrows go from the functions to `shared`: never sideways, never back."""
    for path in modules(f"functions/{room}"):
        strangers = set(imported(path)) & OURS - {room, "shared"}
        assert not strangers, f"{name(path)} imports {strangers}"


def test_the_tooling_knows_no_tests() -> None:
    """What runs on the laptop may import all of the product, and nothing that checks it."""
    for path in modules("opportune"):
        assert not set(imported(path)) & {"tests", "benchmarks"}, name(path)


def test_everything_deployed_is_in_a_room() -> None:
    """Beneath `functions/` are the rooms and the lock file: it is what gets zipped."""
    found = {path.name for path in (ROOT / "functions").iterdir() if not path.name.startswith((".", "__"))}
    assert found == {*ROOMS, "requirements.txt"}


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
    assert {path.parent.name for path in apps} >= set(ROOMS) - {"definitions", "shared"}
    for path in apps:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_APP_LINES, name(path)


def test_modules_can_be_read_in_one_sitting() -> None:
    """No module is longer than the limit, save those with a reason, and each of these is."""
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PRODUCT}
    assert {path for path, length in lengths.items() if length > MAX_LINES} == LONGER.keys()


def test_names_say_what_a_thing_is() -> None:
    """No module and no class is a helper, a manager, a base or a drawer of utilities."""
    for path in PRODUCT:
        assert not set(path.stem.lower().split("_")) & BANNED, name(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                ending = node.name.lower()
                assert not ending.endswith(("utils", "helper", "manager", "util")), f"{name(path)}: {node.name}"


def test_tests_pass_dependencies_and_patch_nothing() -> None:
    """No test replaces a part of the product from outside."""
    for path in modules("tests"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = {argument.arg for argument in node.args.args + node.args.kwonlyargs}
                assert not arguments & {"monkeypatch", "mocker"}, f"{name(path)}: {node.name}"


def test_the_state_machine_is_written_once() -> None:
    """Of the Lua files only the one of the machine has no Redis in it, and it has none at all."""
    machine = ROOT / "functions/decider/lua/include/machine.lua"
    assert "redis.call" not in machine.read_text(encoding="utf-8")
