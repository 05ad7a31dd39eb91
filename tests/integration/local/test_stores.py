"""Valkey and mongod of the local stack start, work as the functions need, and stop."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
from redis.cluster import RedisCluster

from opportune.local import mongod, valkey
from opportune.system.errors import LocalStackError
from opportune.system.ports import free_port
from opportune.system.processes import recorded
from opportune.system.subprocesses import Subprocesses


@pytest.fixture
def subprocesses(tmp_path: Path) -> Iterator[Subprocesses]:
    """Return the subprocesses of a run."""
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as family:
        yield family


def test_valkey_serves_until_it_is_stopped(subprocesses: Subprocesses) -> None:
    """Valkey responds at its URL, keeps nothing on disk, and is gone after the stop."""
    url = valkey.start(subprocesses)
    client = redis.Redis.from_url(url)
    assert client.set("a", "b")
    assert client.config_get("save")["save"] == ""
    assert client.config_get("appendonly")["appendonly"] == "no"
    subprocesses.stop()
    with pytest.raises(redis.ConnectionError):
        client.get("a")
    assert not any(process.alive() for process in recorded(subprocesses.run_dir))


def test_redis_on_path_does_not_take_the_place_of_valkey(tmp_path: Path) -> None:
    """An installed Redis changes nothing, but an installed Valkey comes first."""
    path = str(tmp_path)
    from_wheel = valkey.find_server(path)
    (tmp_path / "redis-server").touch(0o755)
    assert valkey.find_server(path) == from_wheel
    (tmp_path / "valkey-server").touch(0o755)
    assert valkey.find_server(path) == tmp_path / "valkey-server"


def test_a_given_redis_url_wins(subprocesses: Subprocesses) -> None:
    """A server that already runs is used, and none is started."""
    url = valkey.start(subprocesses)
    before = len(recorded(subprocesses.run_dir))
    assert valkey.start(subprocesses, url=url) == url
    assert len(recorded(subprocesses.run_dir)) == before


def test_a_given_url_that_does_not_answer_is_named(subprocesses: Subprocesses) -> None:
    """The error names the wrong URL."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(LocalStackError, match=url):
        valkey.start(subprocesses, url=url)


def test_cluster_shares_all_slots(subprocesses: Subprocesses) -> None:
    """Three masters form a cluster, and a cluster client can write to every slot range."""
    cluster = valkey.start_cluster(subprocesses)
    client = RedisCluster.from_url(cluster.url)
    for number in range(60):
        client.set(f"{{p{number}}}:x", number)
    assert [client.get(f"{{p{number}}}:x") for number in range(60)] == [b"%d" % n for n in range(60)]
    assert all(redis.Redis.from_url(url).dbsize() for url in cluster.urls)
    client.close()
    subprocesses.stop()
    assert not any(node.alive() for node in cluster.nodes)


def test_mongod_is_a_primary_until_it_is_stopped(subprocesses: Subprocesses) -> None:
    """Mongod accepts majority writes and transactions, and is gone after the stop."""
    url = mongod.start(subprocesses)
    with pymongo.MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=2000) as client:
        rows = client.get_database("test", write_concern=pymongo.WriteConcern("majority")).rows
        rows.insert_one({"_id": 1})
        with client.start_session() as session, session.start_transaction():
            rows.insert_one({"_id": 2}, session=session)
        assert rows.count_documents({}) == 2
        assert mongod.start(subprocesses, url=url) == url
    subprocesses.stop()
    assert not any(process.alive() for process in recorded(subprocesses.run_dir))


def test_mongod_without_its_run_bit_is_made_runnable(tmp_path: Path, subprocesses: Subprocesses) -> None:
    """The program from the wheel works although its executable bit is lost."""
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    assert os.access(mongod.runnable(program, subprocesses.run_dir), os.X_OK)
