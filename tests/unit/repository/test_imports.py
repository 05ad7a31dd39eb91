"""Import budgets: what a cold start must not pay for."""

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FUNCTIONS = ROOT / "functions"
# A fresh interpreter imports all modules of a function but its app, which wants an environment.
IMPORT = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
print(json.dumps(sorted(sys.modules)))
"""
BANNED = {
    "gateway": {"pymongo", "bson", "redis", "pydantic", "liquid", "re2", "definitions", "opportune"},
    "decider": {"pydantic", "liquid", "definitions", "opportune"},
    "engager": {"redis", "definitions", "opportune"},
    "refresher": {"redis", "liquid", "definitions", "opportune"},
    "preferences": {"redis", "pydantic", "liquid", "re2", "boto3", "definitions", "opportune"},
}


@pytest.mark.parametrize("function", BANNED)
def test_a_cold_start_loads_nothing_it_does_not_need(function: str) -> None:
    """Importing the whole function leaves the banned packages out."""
    paths = sorted((FUNCTIONS / function).glob("*.py"))
    modules = [f"{function}.{path.stem}" for path in paths if path.stem not in ("__init__", "app")]
    assert f"{function}.handler" in modules
    assert f"{function}.wiring" in modules
    command = [sys.executable, "-I", "-c", IMPORT, str(FUNCTIONS), *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {module.split(".")[0] for module in json.loads(done.stdout)}
    assert not loaded & {*BANNED[function], "pymongo_auth_aws"}  # which comes with the first connection by IAM
