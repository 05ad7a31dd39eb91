"""A real server that refuses for a while: full, busy, a replica. See `tests/unit/decider/test_store_replies.py`."""

from typing import Any

import pytest
from redis import Redis

from decider import keys
from decider.user_state import UserStateStore
from decider.wiring import redis_client as connect
from shared.errors import Unavailable
from tests.support.builders import WINS, call_for


def code_and_kind(url: str) -> tuple[str, type]:
    """Return code and class of the error of one event."""
    rows = UserStateStore(lambda: connect(url, cluster=False))
    with pytest.raises(Unavailable) as caught:
        rows.apply(call_for(WINS, "anna", "1", at=1))
    return caught.value.code, type(caught.value)


def test_a_full_store_is_unavailable(valkey_url: str) -> None:
    """No row is at fault when memory is full."""
    with Redis.from_url(valkey_url) as admin:
        before = admin.config_get("maxmemory")["maxmemory"]
        admin.config_set("maxmemory", 1)
        try:
            assert code_and_kind(valkey_url) == ("state_unavailable", Unavailable)
        finally:
            admin.config_set("maxmemory", before)


def test_too_few_replicas_are_unavailable(valkey_url: str) -> None:
    """A primary that is cut off from its replicas takes no writes."""
    with Redis.from_url(valkey_url) as admin:
        admin.config_set("min-replicas-to-write", 1)
        try:
            assert code_and_kind(valkey_url) == ("state_unavailable", Unavailable)
        finally:
            admin.config_set("min-replicas-to-write", 0)


def test_a_connection_to_a_replica_is_not_kept(valkey_url: str) -> None:
    """After a failover, a new connection reaches the new primary. The old one would say READONLY for ever."""
    client: Any = connect(valkey_url, cluster=False)
    rows = UserStateStore(lambda: client)
    with Redis.from_url(valkey_url) as admin:
        before = client.client_id()
        assert client.client_id() == before
        admin.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(Unavailable, match="it is a replica"):
                rows.apply(call_for(WINS, "anna", "1", at=1))
        finally:
            admin.replicaof("NO", "ONE")
        assert client.client_id() > before + 1, "both tries had a connection of their own"
        rows.apply(call_for(WINS, "anna", "1", at=1))


def test_a_row_of_another_type_is_unreadable(valkey_url: str) -> None:
    """The store works; one row does not."""
    row = keys.row(keys.partition("demo", "anna"), "demo", "anna")
    with Redis.from_url(valkey_url) as admin:
        try:
            admin.set(row, "x")
            rows = UserStateStore(lambda: connect(valkey_url, cluster=False))
            with pytest.raises(Unavailable) as caught:
                rows.apply(call_for(WINS, "anna", "1", at=1))
            assert caught.value.code == "state_unreadable"
        finally:
            admin.delete(row)
