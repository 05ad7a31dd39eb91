"""Why the state store did not do what it was asked, in words for a log.

Without the server's own words, which may name a user's row, and without the address, which may hold a password.
"""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import AuthenticationError, MovedError, NoPermissionError, RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from shared.errors import Unavailable

# Answers that say nothing of one user's row.
REFUSALS = (NoPermissionError, MovedError)
# The first that fits counts: a certificate that is not trusted is a failure of the connection as well.
REASONS: tuple[tuple[type[BaseException], Callable[[Any], str]], ...] = (
    (AuthenticationError, lambda _: "user or password is refused"),
    (NoPermissionError, lambda _: "the user may not do this"),
    (MovedError, lambda _: "it is in cluster mode, and OPPORTUNE_REDIS_CLUSTER is not true"),
    (ssl.SSLCertVerificationError, lambda error: f"its certificate is not trusted: {error.verify_message}"),
    (NoAnswer, lambda _: "no answer in time"),
    (FileNotFoundError, lambda _: "a file that its address names is missing"),
    (OSError, lambda error: f"no connection: {error.strerror or type(error).__name__}"),
)


def unavailable(error: Exception) -> Unavailable:
    """Return the error of ours for one of the client."""
    return Unavailable(f"state store: {_reason(error)}", code="state_unavailable")


def _reason(error: Exception) -> str:
    """Return what is behind *error*, or only its name."""
    causes = list(_causes(error))
    for kind, words in REASONS:
        for each in causes:
            if isinstance(each, kind):
                return words(each)
    if isinstance(error, RedisClusterException) and any(type(each) is ResponseError for each in causes):
        return "it is not in cluster mode, and OPPORTUNE_REDIS_CLUSTER is true"
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
