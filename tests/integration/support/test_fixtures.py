"""The shared servers are real, and empty for each test."""

from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis
from redis.cluster import RedisCluster

from opportune.local.valkey import Cluster
from tests.conftest import Aws


@pytest.mark.parametrize("run", ["first", "second"])
def test_valkey_is_empty(redis_client: Redis, run: str) -> None:
    """A test does not see what the one before wrote."""
    assert redis_client.dbsize() == 0
    redis_client.set("key", run)


@pytest.mark.parametrize("engine", ["valkey", "redis"])
def test_the_store_is_of_the_engine_that_is_asked_for(redis_client: Redis, cluster: Cluster, engine: str) -> None:
    """Valkey reports its name; Redis reports none."""
    with Redis.from_url(cluster.url) as node:
        for each in (redis_client, node):
            assert each.info("server").get("server_name", "redis") == engine


@pytest.mark.parametrize("run", ["first", "second"])
def test_the_cluster_is_empty_and_has_three_nodes(cluster_url: str, run: str) -> None:
    """Keys spread over three nodes and are deleted before the next test."""
    with RedisCluster.from_url(cluster_url) as client:
        assert len(client.get_nodes()) == 3
        for n in range(30):
            assert client.set(f"key-{n}", run, nx=True)


@pytest.mark.parametrize("run", ["first", "second"])
def test_mongodb_is_empty(mongodb: Database[dict[str, Any]], run: str) -> None:
    """Each test has its own database."""
    assert mongodb.list_collection_names() == []
    mongodb.things.insert_one({"_id": 1, "run": run})


@pytest.mark.parametrize("run", ["first", "second"])
def test_aws_is_empty(aws: Aws, run: str) -> None:
    """A queue of one test does not exist in the next."""
    sqs = aws.client("sqs")
    assert "QueueUrls" not in sqs.list_queues()
    sqs.create_queue(QueueName=run)
