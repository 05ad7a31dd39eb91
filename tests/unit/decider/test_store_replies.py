"""Replies of the state store that are errors: which are about one user's row, and which about the store.

The class: a reply that says "not now", given while the store fails over, loads, moves slots, is full or is busy. It
used to count as a row that cannot be read: a wake put timers off, and an event was given up for its user. Replies are
parsed by the client's own parser, with the texts of Valkey 8 and Redis 7, in a script and in a pipeline.
"""

from typing import Any

import pytest
from redis import Redis
from redis._parsers.base import BaseParser

from decider.store import Store, Unreadable
from shared.errors import Unavailable

PARSER: Any = BaseParser
IN_SCRIPT = " script: 2c5a1d, on @user_script:12."
OF_THE_STORE = [
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN Hash slot not served",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "READONLY You can't write against a read only replica.",
    "READONLY You can't write against a read only replica." + IN_SCRIPT,
    "LOADING Valkey is loading the dataset in memory",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "ASK 3999 127.0.0.1:6381",
    "MOVED 3999 127.0.0.1:6381",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk." + IN_SCRIPT,
    "OOM command not allowed when used memory > 'maxmemory'." + IN_SCRIPT,
    "NOREPLICAS Not enough good replicas to write." + IN_SCRIPT,
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User opportune has no permissions to run the 'evalsha' command",
    "EXECABORT Transaction discarded because of previous errors.",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "INPROG Failover already in progress",
    "NOSCRIPT No matching script. Please use EVAL.",
    "REDIRECT 127.0.0.1:6381",
    "NEWCODE a reply of a later version",
    "ERR max number of clients reached",
    "ERR unknown command 'EVALSHA', with args beginning with: ",
    "ERR Script killed by user with SCRIPT KILL." + IN_SCRIPT,
    "ERR Error running script (call to f_2c5a1d): @user_script:9: Script killed by user with SCRIPT KILL...",
    "ERR This instance has cluster support disabled",
    "ERR Server is shutting down",
]
OF_ONE_ROW = [
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGTYPE Operation against a key holding the wrong kind of value" + IN_SCRIPT,
    "ERR user_script:31: attempt to index a nil value" + IN_SCRIPT,
    "ERR user_script:8: Bad data format in input." + IN_SCRIPT,
    "ERR Error running script (call to f_2c5a1d): @user_script:31: user_script:31: attempt to compare nil with number",
]


class _Replies:
    """A client whose every command fails with *error*."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def hget(self, *_: Any) -> Any:
        raise self.error


def ask(reply: str, *, pipeline: bool = False) -> Unavailable:
    """Return our error for a *reply*."""
    error = PARSER.parse_error(reply)
    if pipeline:
        pipe: Any = Redis().pipeline(transaction=False)
        pipe.annotate_exception(error, 3, ["EVALSHA", "x y"])
    client: Any = _Replies(error)
    with pytest.raises(Unavailable) as caught:
        Store(lambda: client).ask(lambda each: each.hget("row", "v"))
    return caught.value


@pytest.mark.parametrize("pipeline", [False, True], ids=["alone", "pipeline"])
@pytest.mark.parametrize("reply", OF_THE_STORE)
def test_a_store_that_cannot_be_used_is_not_a_bad_row(reply: str, pipeline: bool) -> None:
    """The error is retryable, names no key and quotes no address."""
    error = ask(reply, pipeline=pipeline)
    assert (error.code, error.retryable, type(error)) == ("state_unavailable", True, Unavailable)
    assert "127.0.0.1" not in error.message
    assert "script:" not in error.message


@pytest.mark.parametrize("pipeline", [False, True], ids=["alone", "pipeline"])
@pytest.mark.parametrize("reply", OF_ONE_ROW)
def test_a_row_that_cannot_be_read_stays_its_own_error(reply: str, pipeline: bool) -> None:
    """Other users' events in the same request still count."""
    assert type(ask(reply, pipeline=pipeline)) is Unreadable


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (OF_THE_STORE[0], "the cluster is down: a failover is under way"),
        (OF_THE_STORE[2], "its primary is down: a failover is under way"),
        (OF_THE_STORE[3], "it is a replica: a failover is under way"),
        ("LOADING Valkey is loading the dataset in memory", "it is loading its data"),
        ("BUSY Redis is busy running a script.", "it replied BUSY"),
    ],
)
def test_the_log_says_what_the_store_is_doing(reply: str, said: str) -> None:
    """Operators see whether to wait or to act."""
    assert ask(reply).message == f"state store: {said}"
