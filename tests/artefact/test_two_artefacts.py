"""What the two artefacts hold: the functions that handle events, and what reads and publishes definitions."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from opportune.local.functions import FUNCTIONS
from tests.support.emulator import Runtime
from tests.support.figures import Show
from tests.support.paths import ROOT

IN_LAMBDA = {"boto3", "botocore", "s3transfer", "urllib3"}
FOR_DEFINITIONS = {"definitions", "pydantic", "pydantic_core", "ruamel", "console"}
TOOLING = {"opportune", "tests"}
# Loads, checks, compiles and publishes a folder. `-I -S` leaves the standard library on sys.path and nothing else.
PUBLISH = """
import sys
from pathlib import Path

folder, definitions, url, name = sys.argv[1:]
sys.path.insert(0, folder)
from definitions.checks.check import check
from definitions.compiler.ruleset import compile_definitions
from definitions.loading.folder import load
from definitions.publishing.publish import publish
from shared import mongodb
from shared.contracts import write_key

bundle = compile_definitions(check(load(Path(definitions)), {}), [write_key("a-write-key-of-the-test")])
database = mongodb.database(url, name)
published = publish(database, bundle)
database.client.close()
print(published.site, published.version, published.campaigns)
files = {getattr(module, "__file__", None) or "" for module in sys.modules.values()}
outside = [path for path in files if "-packages" in path]
assert not outside, outside
"""


@pytest.mark.timeout(600)  # includes the build
def test_functions_carry_nothing_for_definitions(built: Path) -> None:
    """An event needs neither pydantic nor the definitions, and Lambda has boto3."""
    for name in FUNCTIONS:
        top = {path.name for path in (built / f"{name.title()}Function").iterdir()}
        assert top >= {name, "shared", "msgspec"}
        assert not top & (FOR_DEFINITIONS | IN_LAMBDA | TOOLING)


@pytest.mark.timeout(600)
def test_the_console_publishes_with_its_artefact_alone(
    built_console: Path, runtime: Runtime, mongodb: Database[dict[str, Any]], mongodb_url: str
) -> None:
    """On Lambda's Python, with no other folder on the path, the demo's definitions become version 1."""
    top = {path.name for path in built_console.iterdir()}
    assert top >= {"definitions", "shared", "pydantic", "ruamel"}
    assert not top & (IN_LAMBDA | TOOLING | {"redis", "nh3"} | set(FUNCTIONS))
    command = [runtime.python, "-I", "-S", "-B", "-c", PUBLISH, str(built_console)]
    command += [str(ROOT / "campaigns" / "demo"), mongodb_url, mongodb.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    site, version, campaigns = done.stdout.split()
    assert (site, version) == ("demo", "1")
    assert int(campaigns) == len(list((ROOT / "campaigns" / "demo" / "campaigns").glob("*.yaml")))
    assert mongodb.control.find_one({"_id": "demo"})["ruleset"] == 1  # type: ignore[index] # it exists


@pytest.mark.timeout(600)
def test_everything_is_compiled(built: Path, built_console: Path) -> None:
    """Lambda cannot write compiled modules, so each module has one from the build, with its path on Lambda."""
    for folder in (built / "GatewayFunction", built_console):
        for path in folder.rglob("*.py"):
            assert (path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc").exists(), path
    compiled = built / "GatewayFunction" / "gateway" / "__pycache__" / "handler.cpython-313.pyc"
    assert b"/var/task/gateway/handler.py" in compiled.read_bytes()


@pytest.mark.timeout(600)
def test_the_sizes_are_shown(built: Path, built_console: Path, show: Show) -> None:
    """Lambda refuses more than 250 MB unpacked; a small artefact also starts faster."""
    sizes = {"runtime functions": _megabytes(built / "GatewayFunction"), "console": _megabytes(built_console)}
    show("unpacked artefacts\n" + "\n".join(f"{name:<18} {size:>6.1f} MB" for name, size in sizes.items()))
    assert all(size < 125 for size in sizes.values()), sizes


def _megabytes(folder: Path) -> float:
    files: Iterable[Path] = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files) / 1_000_000
