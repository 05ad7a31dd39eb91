"""Authenticate with a real state store by a token instead of a password."""

import re
from collections import Counter
from typing import Any, cast

import pytest
from pymongo.database import Database
from redis import Redis
from redis.exceptions import RedisClusterException, RedisError

from decider.iam import REUSED_MS, IamCredentials, read_arn
from decider.wiring import redis_client as connect
from opportune.local.valkey import Cluster
from shared.contracts import Woken
from tests.integration.decider.test_gates import cart
from tests.integration.decider.test_wake import LEFT, WAIT, Shop
from tests.support.builders import compiled
from tests.support.paths import ROOT
from tests.unit.decider.test_iam import SERVERLESS, Time, session


@pytest.mark.parametrize("clustered", [False, True], ids=["alone", "cluster"])
def test_a_connection_is_opened_as_the_user_with_the_token(clustered: bool, request: pytest.FixtureRequest) -> None:
    """The store accepts exactly this token. A connection after its replacement brings the new one."""
    url = request.getfixturevalue("cluster_url" if clustered else "valkey_url")
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
        clock.ms += REUSED_MS
        with pytest.raises((RedisError, RedisClusterException)):
            connect(url, cluster=clustered, credentials=provider).evalsha("0" * 40, 0)
    finally:
        for node in nodes:
            with Redis.from_url(node) as admin:
                admin.acl_deluser("opportune")


def test_the_store_denies_nothing_but_who_has_no_token(
    cluster_url: str, cluster: Cluster, mongodb: Database[dict[str, Any]]
) -> None:
    """An alarm reports every denial. The Decider's commands are within its user's rules; a wrong token is not."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    (rules,) = re.findall(r"AccessString: (on .+)", template)
    for node in cluster.urls:
        with Redis.from_url(node) as admin:
            admin.execute_command("ACL", "SETUSER", "opportune", "reset", *rules.split(), ">token")
    before = _denials(cluster)
    try:
        with cast("Any", connect(cluster_url.replace("://", "://opportune:token@"), cluster=True)) as client:
            shop = Shop(client, mongodb, [compiled(LEFT, channel="email", name="left"), cart(name="cart")])
            for n in range(50):
                shop.send(f"user-{n}", "add", n)
            for n in range(20):
                shop.send(f"user-{n}", "order", WAIT - 1)
            assert shop.wake(2 * WAIT) == Woken(30, 0, delayed=30)
            assert list(shop.deps.states.drain(range(1024), "batch"))
        assert _denials(cluster) == before
        with pytest.raises((RedisError, RedisClusterException)):
            connect(cluster_url.replace("://", "://opportune:another@"), cluster=True).evalsha("0" * 40, 0)
        assert (_denials(cluster) - before).keys() == {"acl_access_denied_auth"}
    finally:
        for node in cluster.urls:
            with Redis.from_url(node) as admin:
                admin.acl_deluser("opportune")


def _denials(cluster: Cluster) -> Counter[str]:
    """Return how many commands all nodes have denied, by reason: `valkey.acl.denied` in CloudWatch."""
    found: Counter[str] = Counter()
    for node in cluster.urls:
        with Redis.from_url(node) as admin:
            found.update({name: count for name, count in admin.info("stats").items() if "acl_access_denied" in name})
    return found


def _admit(url: str, token: str) -> None:
    with Redis.from_url(url) as admin:
        admin.acl_setuser(
            "opportune", enabled=True, reset=True, passwords=[f"+{token}"], keys=["*"], commands=["+@all"]
        )


def _anywhere(client: Any, clustered: bool) -> dict[str, Any]:
    return {"target_nodes": client.get_random_node()} if clustered else {}
