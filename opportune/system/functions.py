"""Call the system's functions over the Lambda API of AWS or of the running local stack."""

import os
from typing import Any, NamedTuple

import msgspec

from opportune.system.connection import STATE_DIR, NotConnected
from opportune.system.state_file import running_stack
from shared import clock
from shared.clock import Clock
from shared.invoke import Invoke, LambdaInvoke, lambda_client, no_retry_config
from shared.settings import DECIDER, ENGAGER

TIMEOUT_S = 35.0  # longer than the slowest function may take
DEAD_QUEUES = "OPPORTUNE_DEAD_QUEUE_URLS"
_VARIABLES = {DECIDER: "OPPORTUNE_DECIDER_FUNCTION", ENGAGER: "OPPORTUNE_ENGAGER_FUNCTION"}
_DEAD_QUEUES = ("dead_letter_url", "dead_doorbells_url", "dead_schedules_url")


class Queues(NamedTuple):
    """An SQS client and the URLs of queues."""

    sqs: Any
    urls: list[str]


def function(name: str) -> Invoke:
    """Return a callable for function *name*: the one that the environment names, else that of the local stack."""
    deployed = os.environ.get(_VARIABLES[name])
    if deployed:
        return LambdaInvoke(lambda_client(read_timeout_s=TIMEOUT_S), deployed)
    return LambdaInvoke(_local_client("lambda", _running_stack(_VARIABLES[name])["lambda_url"]), name)


def dead_queues() -> Queues:
    """Return the dead-letter queues of deliveries, doorbells and schedules."""
    urls = os.environ.get(DEAD_QUEUES)
    if urls:
        import boto3  # noqa: PLC0415 - takes half a second

        client = boto3.client("sqs", config=no_retry_config(read_timeout_s=TIMEOUT_S))
        return Queues(client, [url.strip() for url in urls.split(",") if url.strip()])
    stack = _running_stack(DEAD_QUEUES)
    return Queues(_local_client("sqs", stack["aws_url"]), [stack[name] for name in _DEAD_QUEUES])


def system_clock() -> Clock:
    """Return the functions' clock, which may run faster in a local stack."""
    text = os.environ.get("OPPORTUNE_CLOCK") or (running_stack(STATE_DIR) or {}).get("clock")
    return clock.parse_clock(text) if text else clock.now_ms


def ask(function: Invoke, request: Any) -> Any:
    """Send one of the contracts' requests to *function*; return the decoded response."""
    return msgspec.json.decode(function(msgspec.json.encode(request)))


def _running_stack(variable: str) -> dict[str, Any]:
    stack = running_stack(STATE_DIR)
    if stack is None:
        raise NotConnected(f"no running system: start one with `opportune run`, or set {variable}")
    return stack


def _local_client(service: str, url: str) -> Any:
    from opportune.local import aws  # noqa: PLC0415 - deployed systems do not need it

    return aws.client(service, url, read_timeout_s=TIMEOUT_S)
