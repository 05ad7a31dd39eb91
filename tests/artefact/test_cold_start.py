"""What a cold start costs: each built function beside a bare one that only creates the client it calls with."""

import os
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from opportune.local.children import Children
from opportune.local.environments import Function
from opportune.local.functions import FUNCTIONS, environment
from tests.artefact.emulator import Emulated, Runtime, starts_ms
from tests.unit.test_settings import COMPLETE

NOWHERE = "http://127.0.0.1:1"
ROUNDS = 5
BARE = "bare"
BARE_CODE = """
import boto3
from botocore.config import Config

client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def handler(event, context):
    return {}
"""
# Of the bare function's time; the Decider brings the drivers of both stores besides.
MOST = {"gateway": 1.5, "decider": 2.0, "engager": 1.5, "refresher": 1.5, "preferences": 1.5}


def test_a_cold_start_is_little_more_than_that_of_its_client(
    runtime: Runtime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Gateway starts in at most one and a half times what its client alone takes, the others within limits."""
    (tmp_path / BARE).mkdir()
    (tmp_path / BARE / "bare.py").write_text(BARE_CODE)
    # The call itself means nothing here, and some of them look for a database that is not there.
    functions = {name: replace(function, timeout_s=1) for name, function in FUNCTIONS.items()}
    functions[BARE] = Function("bare.handler", timeout_s=1)
    took: dict[str, list[float]] = {name: [] for name in functions}
    with Children(tmp_path / "run", tmp_path / "logs", os.environ) as children:
        start = Runtime(runtime.python, runtime.emulator, runtime.built, {BARE: tmp_path / BARE}).start
        for _ in range(ROUNDS):  # in turn, so that a busy moment hits all
            for name, function in functions.items():
                started = start(name, function, children, _variables(name, function), tmp_path)
                took[name] += _start_ms(started)
    floor = median(took[BARE])
    with capsys.disabled():
        print(
            f"\n\ncold start in Lambda's emulator, median of {ROUNDS}; bare: boto3 and its Lambda client, nothing else"
        )
        print(f"{'function':<12} {'start':>8} {'of bare':>8} {'at most':>8}")
        for name, each in took.items():
            print(f"{name:<12} {median(each):>5.0f} ms {median(each) / floor:>8.2f} {MOST.get(name, 1.0):>8.2f}")
    for name, most in MOST.items():
        assert len(took[name]) == ROUNDS
        assert median(took[name]) / floor <= most, f"{name} starts too slowly"


def _variables(name: str, function: Function) -> dict[str, str]:
    extra = {"PYTHONDONTWRITEBYTECODE": "1"}
    return environment(name, function, settings=COMPLETE, aws_url=NOWHERE, lambda_url=NOWHERE, extra=extra)


def _start_ms(started: Emulated) -> list[float]:
    """Have an environment start its runtime by a first call, which may fail; return what the start took."""
    started.serve(b"{}")
    started.stop()
    return starts_ms(started.log)
