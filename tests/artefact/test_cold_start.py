"""What a cold start costs: each built function beside a bare one that only creates the client it calls with."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from opportune.local.environments import Function
from opportune.local.functions import FUNCTIONS, function_environment
from opportune.system.subprocesses import Subprocesses
from shared.settings import GATEWAY
from tests.conftest import Aws
from tests.support.emulator import Emulated, Runtime, starts_ms
from tests.unit.shared.test_settings import COMPLETE

NOWHERE = "http://127.0.0.1:1"
ROUNDS = 5
MOST_ROUNDS = 15  # where a function seems too slow, in case the machine was only busy
BARE = "bare"
GUARDED = "guarded"  # the Gateway behind CloudFront
BARE_CODE = """
import boto3
from botocore.config import Config

client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def handler(event, context):
    return {}
"""
# Of the bare function's time. All but the Gateway that nothing guards read a secret or two at start, which takes a
# second client and a call each; the others bring the drivers of their stores besides.
MOST = {"gateway": 1.5, GUARDED: 2.0, "decider": 3.0, "engager": 2.2, "refresher": 2.2, "preferences": 2.5}


@pytest.mark.timeout(600)  # with the build before it
def test_a_cold_start_is_little_more_than_that_of_its_client(
    runtime: Runtime, aws: Aws, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Gateway starts in at most one and a half times what its client alone takes, the others within limits."""
    (tmp_path / BARE).mkdir()
    (tmp_path / BARE / "bare.py").write_text(BARE_CODE)
    # The call itself means nothing here, and some of them look for a database that is not there.
    functions = {name: replace(function, timeout_s=5) for name, function in FUNCTIONS.items()}
    functions[BARE] = Function("bare.handler", timeout_s=5)
    functions[GUARDED] = functions[GATEWAY]
    took: dict[str, list[float]] = {name: [] for name in functions}
    variables = partial(_variables, aws.url, _secrets(aws))
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        folders = {BARE: tmp_path / BARE, GUARDED: runtime.built / "GatewayFunction"}
        start = Runtime(runtime.python, runtime.emulator, runtime.built, folders).start
        rounds = 0
        while rounds < ROUNDS or (_too_slow(took) and rounds < MOST_ROUNDS):
            rounds += 1
            for name, function in functions.items():  # in turn, so that a busy moment hits all
                started = start(name, function, subprocesses, variables(name, function), tmp_path)
                took[name] += _start_ms(started)
    of_bare = _of_bare(took)
    with capsys.disabled():
        print(f"\n\n{rounds} cold starts in Lambda's emulator; bare: boto3 and its Lambda client, nothing else")
        print(f"{'function':<12} {'quickest':>9} {'median':>9} {'of bare':>8} {'at most':>8}")
        for name, each in took.items():
            ms = f"{min(each):>6.0f} ms {median(each):>6.0f} ms"
            print(f"{name:<12} {ms} {of_bare[name]:>8.2f} {MOST.get(name, 1):>8.2f}")
    assert all(len(each) == rounds for each in took.values())
    assert _too_slow(took) == {}


def _of_bare(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return what each function's start is of the bare one's.

    Whatever else the machine does only adds to a start: the quickest is nearest to what it costs.
    """
    return {name: min(each) / min(took[BARE]) for name, each in took.items()}


def _too_slow(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: ratio for name, ratio in _of_bare(took).items() if name in MOST and ratio > MOST[name]}


def _secrets(aws: Aws) -> dict[str, str]:
    """Put what is secret where it is on AWS; return the settings with the ARNs in place of the values."""
    client = aws.client("secretsmanager")
    names = ["MONGODB_URL", "SIGNING_SECRET", "IDENTITY_SECRET", "ORIGIN_SECRET"]
    return {
        name: client.create_secret(Name=name, SecretString=COMPLETE.get(name, "0123456789" * 4))["ARN"]
        for name in (f"OPPORTUNE_{each}" for each in names)
    }


def _variables(aws_url: str, arns: Mapping[str, str], name: str, function: Function) -> dict[str, str]:
    extra = {"PYTHONDONTWRITEBYTECODE": "1"}
    settings = {**COMPLETE, **arns}
    if name == GUARDED:
        name = GATEWAY
    else:
        del settings["OPPORTUNE_ORIGIN_SECRET"]
    return function_environment(name, function, settings=settings, aws_url=aws_url, lambda_url=NOWHERE, extra=extra)


def _start_ms(started: Emulated) -> list[float]:
    """Have an environment start its runtime by a first call, which may fail; return what the start took."""
    started.serve(b"{}")
    started.stop()
    return starts_ms(started.log)
