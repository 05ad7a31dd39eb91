"""The snippets for servers work against a running Gateway."""

import os
import subprocess
import sys
import time

import pytest

from opportune.site_tag.snippets import tags
from tests.support.definitions import load_definitions
from tests.support.paths import ROOT
from tests.support.whole_system import KEYS, System


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_servers_code_sends_the_event(system: System, language: str) -> None:
    """The pasted code sends a VIP's jackpot with the secret key, and the ledger has its row."""
    (event,) = tags(load_definitions(ROOT / "campaigns" / "demo", KEYS), system.stack.http_url, "jackpot_won").events
    (code,) = (each.code for each in event.server if each.id == language)
    code = code.replace("USER-ID", "anna")
    command = ["bash", "-c", f"{code} -sSf"] if language == "curl" else [sys.executable, "-c", code]
    before = activations(system)
    done = subprocess.run(command, env={**os.environ, **KEYS}, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 20
    while activations(system) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert activations(system) == before + 1


def activations(system: System) -> int:
    """Return how many of anna's jackpots are in the ledger."""
    return system.database.activations.count_documents({"user": "anna", "campaign": "jackpot"})
