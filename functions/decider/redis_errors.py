"""Tell a row that cannot be read from a store that cannot be used, and say in words for a log why a command failed.

Only a script that stumbles over what it reads, or a key of another type, concerns one row. Every other reply is about
the store: it loads, fails over, moves slots, is full, is busy, or refuses the user. Its list of codes grows with every
version, so the row is what is recognised.

The server's own message may name a user's row, and the address may contain a password, so both are left out.
"""

import re
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as NoAnswer

from shared.errors import Unavailable

# A pipeline puts the number and the name of the command in front of the reply.
_PIPELINE = re.compile(r"Command # .* of pipeline caused error: ", re.DOTALL)
_CODE = re.compile(r"([A-Z]{3,})( |$)")
_WRONG_TYPE = "WRONGTYPE"
_SCRIPT_FAILED = re.compile(r"user_script:|Error running script")
# A killed script says nothing about the row, and a script with keys of two slots is our own mistake.
_NOT_THE_ROW = re.compile(r"killed by user|Script attempted|not allowed from (read-only )?script", re.IGNORECASE)
# The first match counts: a certificate that is not trusted is a connection error as well.
REASONS: tuple[tuple[type[BaseException], Callable[[Any], str]], ...] = (
    (AuthenticationError, lambda _: "user or password was rejected"),
    (NoPermissionError, lambda _: "the user lacks the permission"),
    (ReadOnlyError, lambda _: "it is a replica: a failover is under way"),
    (MasterDownError, lambda _: "its primary is down: a failover is under way"),
    (ClusterDownError, lambda _: "the cluster is down: a failover is under way"),
    (TryAgainError, lambda _: "slots are being moved"),
    (BusyLoadingError, lambda _: "it is loading its data"),
    (OutOfMemoryError, lambda _: "its memory is full"),
    (MovedError, lambda _: "it is in cluster mode, but OPPORTUNE_REDIS_CLUSTER is not true"),
    (ssl.SSLCertVerificationError, lambda error: f"its certificate is not trusted: {error.verify_message}"),
    (NoAnswer, lambda _: "timed out"),
    (FileNotFoundError, lambda _: "a file that its address names does not exist"),
    (OSError, lambda error: f"no connection: {error.strerror or type(error).__name__}"),
)


def concerns_one_row(error: ResponseError) -> bool:
    """Return whether *error*, a reply of the store, is about what is stored of one user."""
    if type(error) is not ResponseError:
        return False
    text = _reply(error)
    if code := _CODE.match(text):
        return code[1] == _WRONG_TYPE
    return _SCRIPT_FAILED.search(text) is not None and not _NOT_THE_ROW.search(text)


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
    code = _CODE.match(_reply(error)) if isinstance(error, ResponseError) else None
    return f"it replied {code[1]}" if code else type(error).__name__


def _reply(error: ResponseError) -> str:
    return _PIPELINE.sub("", str(error), count=1)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
