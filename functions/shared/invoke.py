"""Calls from one function to the next: synchronous, once, with a timeout of our own.

boto3 repeats a call up to four times by default, also one that was executed and whose answer got
lost; here it never does (``total_max_attempts=1``). The caller's caller repeats, if anybody.

Only a call whose connection broke off is made again, and only where a repeat does no harm: a function that has slept
finds out by its first call that somebody on the way has given the connection up.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

import boto3
import msgspec
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

from shared.errors import Unavailable

T = TypeVar("T")


class Invoke(Protocol):
    """Call a function with a JSON payload and return its JSON answer."""

    def __call__(self, payload: bytes) -> bytes: ...


def no_retry_config(*, read_timeout_s: float) -> Config:
    """Return the boto3 configuration of every client whose calls have an effect."""
    return Config(
        connect_timeout=1,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
        max_pool_connections=16,
    )


def retry_closed_connection(call: Callable[[], T]) -> T:
    """Make *call*, which may be repeated; and again where its connection broke off."""
    try:
        return call()
    except ConnectionClosedError:
        return call()


class LambdaInvoke:
    """`Invoke` over the Lambda API, of functions that know a repeat when they see one.

    Raises `Unavailable` on every failure: what happened is unknown.
    """

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def __call__(self, payload: bytes) -> bytes:
        """Invoke the function synchronously and return the payload of its answer."""
        try:
            answer = retry_closed_connection(lambda: self._client.invoke(FunctionName=self._function, Payload=payload))
            body: bytes = answer["Payload"].read()
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"{self._function} did not answer: {type(error).__name__}") from error
        if "FunctionError" in answer:
            raise Unavailable(f"{self._function} failed")
        return body


def lambda_client(*, read_timeout_s: float) -> Any:
    """Return a boto3 Lambda client that calls once."""
    return boto3.client("lambda", config=no_retry_config(read_timeout_s=read_timeout_s))


@cache
def _client() -> Any:
    return lambda_client(read_timeout_s=5)


def invoke_async(function: str, payload: dict[str, Any]) -> None:
    """Invoke *function* (ARN) with *payload*, and do not wait for it; raises `Unavailable`."""
    body = msgspec.json.encode(payload)
    try:
        client = _client()
        retry_closed_connection(lambda: client.invoke(FunctionName=function, InvocationType="Event", Payload=body))
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"{function} was not invoked: {type(error).__name__}") from error
