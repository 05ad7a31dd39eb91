"""Import budgets: packages that a cold start must not load."""

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FUNCTIONS = ROOT / "functions"
# A fresh interpreter imports every module of a function except its app, which needs an environment.
IMPORT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
print(json.dumps(sorted(sys.modules)))
"""
# The artefact of these functions has neither pydantic nor definitions; a test of the artefact shows that they work.
NEVER = {
    "pydantic",
    "definitions",
    "opportune",
    "idna",
    "pymongo_auth_aws",
}  # the last one comes with the first IAM connection
BANNED = {
    "gateway": {"pymongo", "bson", "redis", "liquid", "re2"},
    "decider": {"liquid"},
    "engager": {"redis", "babel"},
    "refresher": {"redis", "liquid"},
    "preferences": {"redis", "liquid", "re2", "boto3"},
}


@pytest.mark.parametrize("function", BANNED)
def test_a_cold_start_loads_nothing_it_does_not_need(function: str) -> None:
    """Importing every module of the function loads none of the banned packages."""
    paths = sorted((FUNCTIONS / function).rglob("*.py"))
    modules = [
        ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts)
        for path in paths
        if path.stem not in ("__init__", "app")
    ]
    assert f"{function}.handler" in modules
    assert f"{function}.wiring" in modules
    command = [sys.executable, "-I", "-c", IMPORT, str(FUNCTIONS), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {module.split(".")[0] for module in json.loads(done.stdout)}
    assert not loaded & (NEVER | BANNED[function])
