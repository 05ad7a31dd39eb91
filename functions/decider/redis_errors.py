"""Say in words for a log why a command of the state store failed.

The server's own message may name a user's row, and the address may contain a password, so both are left out.
"""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from shared.errors import Unavailable

# Errors that have nothing to do with one user's row.
REFUSALS = (NoPermissionError, MovedError)
# The first match counts: a certificate that is not trusted is a connection error as well.
REASONS: tuple[tuple[type[BaseException], Callable[[Any], str]], ...] = (
    (AuthenticationError, lambda _: "user or password was rejected"),
    (NoPermissionError, lambda _: "the user lacks the permission"),
    (MovedError, lambda _: "it is in cluster mode, but OPPORTUNE_REDIS_CLUSTER is not true"),
    (ssl.SSLCertVerificationError, lambda error: f"its certificate is not trusted: {error.verify_message}"),
    (NoAnswer, lambda _: "timed out"),
    (FileNotFoundError, lambda _: "a file that its address names does not exist"),
    (OSError, lambda error: f"no connection: {error.strerror or type(error).__name__}"),
)


def unavailable(error: Exception) -> Unavailable:
    """Return our error for *error* of the client."""
    return Unavailable(f"state store: {_reason(error)}", code="state_unavailable")


def _reason(error: Exception) -> str:
    """Return the cause of *error* in words, or the name of its class."""
    causes = list(_causes(error))
    for kind, words in REASONS:
        for each in causes:
            if isinstance(each, kind):
                return words(each)
    if isinstance(error, RedisClusterException) and any(type(each) is ResponseError for each in causes):
        return "it is not in cluster mode, but OPPORTUNE_REDIS_CLUSTER is true"
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
