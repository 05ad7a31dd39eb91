"""Calls from one function to another, with an explicit timeout and without boto3's retries.

By default boto3 makes up to four attempts, even if the first one was executed and only its response was lost. Here it
makes one (``total_max_attempts=1``); the queue or the tracker in front of the caller retries.

The one exception is a call whose connection was closed, if repeating it does no harm. An environment that was paused
learns only from its first call that the connection no longer exists.
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
    """Call a function with a JSON payload and return its JSON response."""

    def __call__(self, payload: bytes) -> bytes: ...


def no_retry_config(*, read_timeout_s: float) -> Config:
    """Return the boto3 configuration for clients whose calls have effects."""
    return Config(
        connect_timeout=1,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": 1},
        tcp_keepalive=True,
        max_pool_connections=16,
    )


def retry_closed_connection(call: Callable[[], T]) -> T:
    """Return the result of *call*; repeat it once if its connection was closed. *call* must be safe to repeat."""
    try:
        return call()
    except ConnectionClosedError:
        return call()


class LambdaInvoke:
    """`Invoke` over the Lambda API, for functions that deduplicate repeated calls.

    Raises `Unavailable` on every failure; the function may have run.
    """

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def __call__(self, payload: bytes) -> bytes:
        """Invoke the function synchronously and return its response."""
        try:
            response = retry_closed_connection(
                lambda: self._client.invoke(FunctionName=self._function, Payload=payload)
            )
            body: bytes = response["Payload"].read()
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"{self._function} did not answer: {type(error).__name__}") from error
        if "FunctionError" in response:
            raise Unavailable(f"{self._function} failed")
        return body


def lambda_client(*, read_timeout_s: float) -> Any:
    """Return a boto3 Lambda client without retries."""
    return boto3.client("lambda", config=no_retry_config(read_timeout_s=read_timeout_s))


@cache
def _client() -> Any:
    return lambda_client(read_timeout_s=5)


def invoke_async(function: str, payload: dict[str, Any]) -> None:
    """Invoke *function* (ARN) with *payload* without waiting for it; raise `Unavailable`."""
    body = msgspec.json.encode(payload)
    try:
        client = _client()
        retry_closed_connection(lambda: client.invoke(FunctionName=function, InvocationType="Event", Payload=body))
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"{function} was not invoked: {type(error).__name__}") from error
