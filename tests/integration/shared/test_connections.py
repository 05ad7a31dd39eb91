"""Connections that were closed while a function was paused."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis

from decider import keys
from decider.layout import Outcome
from decider.store import Client
from decider.timers import Timer
from decider.user_state import UserStateStore
from decider.wiring import redis_client as connect
from shared.errors import Unavailable
from tests.support.builders import WINS, call_for
from tests.support.forgetful import Forgetful

T0 = 1_790_000_000_000


@pytest.fixture(name="way")
def _way(valkey_url: str) -> Iterator[Forgetful]:
    with Forgetful(urlsplit(valkey_url).port or 0) as way:
        yield way


@pytest.fixture(name="rows")
def _rows(way: Forgetful, redis_client: Redis) -> UserStateStore:
    client = connect(f"redis://127.0.0.1:{way.port}/0", cluster=False)
    return UserStateStore(lambda: client)


def test_an_event_after_a_long_sleep_is_decided(rows: UserStateStore, way: Forgetful) -> None:
    """The first command on a closed connection fails and is repeated on a new one."""
    for n in range(3):
        answer = rows.apply(call_for(WINS, "anna", f"m{n}", at=T0 + n))
        assert (answer.code, len(answer.firings)) == (Outcome.DECIDED, int(n == 2))
        way.forget()
    assert way.made == 3


def test_a_wake_after_a_long_sleep_sees_what_is_due(rows: UserStateStore, way: Forgetful, redis_client: Redis) -> None:
    """The same holds for commands that are not scripts."""
    redis_client.zadd(keys.timers(7), {"[]": T0})
    assert rows.due_timers(range(1024), T0, 10) == [Timer(7, "", [], b"[]")]
    way.forget()
    (timer,) = rows.due_timers(range(1024), T0, 10)
    way.forget()
    rows.reschedule(timer, T0 + 1)
    way.forget()
    assert rows.due_timers(range(1024), T0, 10) == []
    rows.remove(timer)
    assert list(rows.drain(range(1024), "b")) == []


def test_a_store_that_is_gone_is_asked_twice_and_no_more(way: Forgetful) -> None:
    """The caller gets the error immediately."""
    tried = []

    def nobody() -> Client:
        tried.append(1)
        return connect("redis://127.0.0.1:1/0", cluster=False)

    with pytest.raises(Unavailable):
        UserStateStore(nobody).apply(call_for(WINS, "anna", "m", at=T0))
    assert len(tried) == 2
    assert way.made == 0
