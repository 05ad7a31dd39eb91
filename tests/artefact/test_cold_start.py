"""Cold starts of the built functions, compared with a bare function that only creates a boto3 client."""

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
from tests.support.figures import Show
from tests.unit.shared.test_settings import COMPLETE

NOWHERE = "http://127.0.0.1:1"
ROUNDS = 5
MAX_ROUNDS = 15  # if a function seems too slow: perhaps the machine was only busy
BARE = "bare"
GUARDED = "guarded"  # the Gateway behind CloudFront
BARE_CODE = """
import boto3
from botocore.config import Config

client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))


def handler(event, context):
    return {}
"""
# Limits, as multiples of the bare function's start. Each function but the unguarded Gateway reads secrets, which takes
# a second client and a call for each secret. All but the Gateway also import the drivers of their stores.
LIMITS = {"gateway": 1.5, GUARDED: 2.0, "decider": 3.0, "engager": 2.2, "refresher": 2.2, "preferences": 2.5}


@pytest.mark.timeout(600)  # includes the build
def test_a_cold_start_is_little_more_than_that_of_its_client(
    runtime: Runtime, aws: Aws, tmp_path: Path, show: Show
) -> None:
    """The Gateway starts in at most 1.5 times the time that its client takes, and the others within their limits."""
    (tmp_path / BARE).mkdir()
    (tmp_path / BARE / "bare.py").write_text(BARE_CODE)
    # The call after the start may fail: no database is there. It must only end soon.
    functions = {name: replace(function, timeout_s=5) for name, function in FUNCTIONS.items()}
    functions[BARE] = Function("bare.handler", timeout_s=5)
    functions[GUARDED] = functions[GATEWAY]
    took: dict[str, list[float]] = {name: [] for name in functions}
    variables = partial(_variables, aws.url, _secrets(aws))
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        folders = {BARE: tmp_path / BARE, GUARDED: runtime.built / "GatewayFunction"}
        start = Runtime(runtime.python, runtime.emulator, runtime.built, folders).start
        rounds = 0
        while rounds < ROUNDS or (_too_slow(took) and rounds < MAX_ROUNDS):
            rounds += 1
            for name, function in functions.items():  # in turn, so that a busy moment slows them all
                started = start(name, function, subprocesses, variables(name, function), tmp_path)
                took[name] += _start_ms(started)
    of_bare = _of_bare(took)
    lines = [f"{rounds} cold starts in Lambda's emulator; bare: a function with only boto3's Lambda client"]
    lines += [f"{'function':<12} {'fastest':>9} {'median':>9} {'of bare':>8} {'limit':>8}"]
    for name, each in took.items():
        ms = f"{min(each):>6.0f} ms {median(each):>6.0f} ms"
        lines.append(f"{name:<12} {ms} {of_bare[name]:>8.2f} {LIMITS.get(name, 1):>8.2f}")
    show("\n".join(lines))
    assert all(len(each) == rounds for each in took.values())
    assert _too_slow(took) == {}


def _of_bare(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return each function's fastest start as a multiple of the bare one's.

    Other work on the machine can only lengthen a start, so the fastest is the best estimate.
    """
    return {name: min(each) / min(took[BARE]) for name, each in took.items()}


def _too_slow(took: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: ratio for name, ratio in _of_bare(took).items() if name in LIMITS and ratio > LIMITS[name]}


def _secrets(aws: Aws) -> dict[str, str]:
    """Create the secrets; return the settings with ARNs instead of the secret values."""
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
    """Call a function for the first time; return how long the start took, in ms. The call may fail."""
    started.serve(b"{}")
    started.stop()
    return starts_ms(started.log)
