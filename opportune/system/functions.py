"""How commands call the functions of the system: over the Lambda API, of AWS or of the running local stack."""

import os
from typing import Any, NamedTuple

import msgspec

from opportune.system.connection import STATE_DIR, NotConnected
from opportune.system.state_file import running_stack
from shared import clock
from shared.clock import Clock
from shared.invoke import Invoke, LambdaInvoke, lambda_client, no_retry_config
from shared.settings import DECIDER, ENGAGER

TIMEOUT_S = 35.0  # longer than the slowest of them may take
DEAD_QUEUES = "OPPORTUNE_DEAD_QUEUE_URLS"
_FUNCTION = {DECIDER: "OPPORTUNE_DECIDER_FUNCTION", ENGAGER: "OPPORTUNE_ENGAGER_FUNCTION"}
_DEAD = ("dead_letter_url", "dead_doorbells_url", "dead_schedules_url")


class Queues(NamedTuple):
    """An SQS client, and URLs of queues."""

    sqs: Any
    urls: list[str]


def function(name: str) -> Invoke:
    """Return how to call function *name*: what the environment names, else that of the local stack."""
    deployed = os.environ.get(_FUNCTION[name])
    if deployed:
        return LambdaInvoke(lambda_client(read_timeout_s=TIMEOUT_S), deployed)
    return LambdaInvoke(_local("lambda", _stack(_FUNCTION[name])["lambda_url"]), name)


def dead_queues() -> Queues:
    """Return the queues of what could not be delivered, decided or rung."""
    urls = os.environ.get(DEAD_QUEUES)
    if urls:
        import boto3  # noqa: PLC0415 - half a second

        client = boto3.client("sqs", config=no_retry_config(read_timeout_s=TIMEOUT_S))
        return Queues(client, [url.strip() for url in urls.split(",") if url.strip()])
    stack = _stack(DEAD_QUEUES)
    return Queues(_local("sqs", stack["aws_url"]), [stack[name] for name in _DEAD])


def system_clock() -> Clock:
    """Return the clock of the functions: in a local stack it may run faster."""
    text = os.environ.get("OPPORTUNE_CLOCK") or (running_stack(STATE_DIR) or {}).get("clock")
    return clock.parse(text) if text else clock.now_ms


def ask(function: Invoke, request: Any) -> Any:
    """Call *function* with one of the contracts' requests; return its answer, decoded."""
    return msgspec.json.decode(function(msgspec.json.encode(request)))


def _stack(variable: str) -> dict[str, Any]:
    stack = running_stack(STATE_DIR)
    if stack is None:
        raise NotConnected(f"no running system: start one with `opportune run`, or set {variable}")
    return stack


def _local(service: str, url: str) -> Any:
    from opportune.local import aws  # noqa: PLC0415 - only where the stand-in is what is called

    return aws.client(service, url, read_timeout_s=TIMEOUT_S)
