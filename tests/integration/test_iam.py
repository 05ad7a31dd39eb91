"""Entering a real state store with a token in place of a password."""

from typing import Any, cast

import pytest
from redis import Redis
from redis.exceptions import RedisClusterException, RedisError

from decider.iam import KEPT_MS, IamCredentials, read_arn
from decider.wiring import redis_client as connect
from tests.unit.test_iam import SERVERLESS, Time, session


@pytest.mark.parametrize("clustered", [False, True], ids=["alone", "cluster"])
def test_a_connection_is_opened_as_the_user_with_the_token(clustered: bool, request: pytest.FixtureRequest) -> None:
    """The store lets in who has this very token; a connection after it was replaced brings another one."""
    url = request.getfixturevalue("valkey_cluster" if clustered else "valkey_url")
    clock = Time()
    provider = IamCredentials("opportune", read_arn(SERVERLESS), clock, session)
    nodes = request.getfixturevalue("cluster").urls if clustered else [url]
    for node in nodes:
        _admit(node, provider.get_credentials()[1])
    try:
        with cast("Any", connect(url, cluster=clustered, credentials=provider)) as client:
            assert client.execute_command("ACL WHOAMI", **_anywhere(client, clustered)) in (b"opportune", "opportune")
        for node in nodes:
            _admit(node, "another token")
        clock.ms += KEPT_MS
        with pytest.raises((RedisError, RedisClusterException)):
            connect(url, cluster=clustered, credentials=provider).evalsha("0" * 40, 0)
    finally:
        for node in nodes:
            with Redis.from_url(node) as admin:
                admin.acl_deluser("opportune")


def _admit(url: str, token: str) -> None:
    with Redis.from_url(url) as admin:
        admin.acl_setuser(
            "opportune", enabled=True, reset=True, passwords=[f"+{token}"], keys=["*"], commands=["+@all"]
        )


def _anywhere(client: Any, clustered: bool) -> dict[str, Any]:
    return {"target_nodes": client.get_random_node()} if clustered else {}
