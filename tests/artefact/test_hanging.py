"""A function that hangs delays an event but does not lose it: each hop times out before its caller does."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from decider import wiring
from opportune.demo.scenario.model import TrackingClient
from opportune.events.send import Busy
from opportune.local.functions import FUNCTIONS, GATEWAY_TIMEOUT_MS
from shared.settings import DECIDER, ENGAGER, GATEWAY
from tests.artefact.conftest import running
from tests.support.emulator import Runtime

API_GATEWAY_S = 30  # the longest time that an HTTP API waits
HANGS = """
import sys, time
from pathlib import Path

sys.path.insert(0, {built!r})
from engager.app import handler as real_handler


def handler(event, context):
    while Path({while_there!r}).exists():
        time.sleep(0.05)
    return real_handler(event, context)
"""


def test_timeouts_nest() -> None:
    """The call to the Engager times out before the call to the Decider, and each before its caller's own timeout."""
    engager_s, decider_s = wiring.ENGAGER_TIMEOUT_S, GATEWAY_TIMEOUT_MS / 1000
    assert engager_s < decider_s < FUNCTIONS[DECIDER].timeout_s < FUNCTIONS[GATEWAY].timeout_s < API_GATEWAY_S


def test_an_engager_that_hangs_loses_no_event(runtime: Runtime, tmp_path: Path) -> None:
    """A match gets 503 within the Gateway's timeout, and its popup when it is retried. Other events are not slower."""
    hanging, code = tmp_path / "hanging", tmp_path / "code"
    hanging.touch()
    code.mkdir()
    built = str(runtime.built / "EngagerFunction")
    (code / "hangs.py").write_text(HANGS.format(built=built, while_there=str(hanging)))
    functions = {**FUNCTIONS, ENGAGER: replace(FUNCTIONS[ENGAGER], handler="hangs.handler", warm=0)}
    environments = replace(runtime, instead={ENGAGER: code})
    with running(tmp_path, environments.start, functions=functions, wake_s=3600.0) as system:
        client = TrackingClient(system.browser, system.server)
        anna, bob = f"anna-{system.token}", f"bob-{system.token}"
        for _ in range(2):
            assert client.track(anna, "game_result", outcome="win") == []
        begun = time.monotonic()
        with pytest.raises(Busy, match="503"):
            client.track(anna, "game_result", message_id="third", outcome="win")
        assert wiring.ENGAGER_TIMEOUT_S <= time.monotonic() - begun < GATEWAY_TIMEOUT_MS / 1000
        begun = time.monotonic()
        assert client.track(bob, "game_result", outcome="win") == []
        assert time.monotonic() - begun < 1
        hanging.unlink()
        (popup,) = client.track(anna, "game_result", message_id="third", outcome="win")
        assert popup["campaign"] == "three-wins"
