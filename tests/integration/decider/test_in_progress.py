"""Users with progress, as counted from the notes of the scripts, on a real Valkey."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, user_admin
from decider.in_progress import count_in_progress
from decider.ingest import ingest
from decider.user_admin import RunProgress, UserSnapshot
from decider.visitors import become_user
from decider.wiring import redis_client as connect
from definitions.publishing.publish import roll_back
from shared.contracts import CountInProgress, Decide, Event, ForgetUser, InspectUser, write_key
from shared.identities import Identification
from shared.ruleset import Campaign
from tests.integration.decider.test_wake import LEFT, MINUTE, SECOND, T0, Post, Shop
from tests.support.builders import compiled
from tests.support.decider_harness import decider_deps, live_rulesets
from tests.support.definitions import define, publish

ShopMaker = Callable[..., Shop]
TWICE = {"sequence": [{"event": "a"}, {"event": "b"}], "within": "10m"}


@pytest.fixture(name="shop")
def _shop(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ShopMaker:
    def make(*campaigns: Campaign) -> Shop:
        return Shop(redis_client, mongodb, campaigns)

    return make


def counted(shop: Shop, at: int, site: str = "demo") -> dict[str, int]:
    """Return the users with progress at *at* (ms since `T0`), by trigger."""
    deps = replace(shop.deps, clock=lambda: T0 + at)
    return count_in_progress(CountInProgress(site), deps).users


def test_users_are_counted_while_their_progress_can_lead_somewhere(shop: ShopMaker) -> None:
    """From the first event until the match, or until the window closes, to the millisecond."""
    campaign = compiled(TWICE, channel="email")
    key = campaign.trigger.key
    town = shop(campaign)
    assert counted(town, 0) == {}
    for user in ("anna", "bob", "cyd"):
        town.send(user, "a", 0)
    town.send("bob", "a", 5 * MINUTE)
    assert counted(town, 5 * MINUTE) == {key: 3}
    town.send("anna", "b", 6 * MINUTE)  # a match uses the progress up
    assert counted(town, 6 * MINUTE) == {key: 2}
    assert counted(town, 10 * MINUTE - 1) == {key: 2}
    assert counted(town, 10 * MINUTE) == {key: 1}
    assert counted(town, 15 * MINUTE) == {}
    assert counted(town, 5 * MINUTE, "another-site") == {}


def test_an_absence_that_waits_is_progress(shop: ShopMaker) -> None:
    """Until it fires, or the awaited event comes."""
    campaign = compiled(LEFT, channel="email")
    town = shop(campaign)
    town.send("anna", "add", 0)
    town.send("bob", "add", 0)
    assert counted(town, MINUTE) == {campaign.trigger.key: 2}
    town.send("bob", "order", MINUTE)
    assert counted(town, MINUTE) == {campaign.trigger.key: 1}
    town.wake(31 * MINUTE)
    assert counted(town, 20 * MINUTE) == {}


def test_runs_of_one_user_are_one_user(shop: ShopMaker) -> None:
    """As long as one of them has progress."""
    campaign = compiled({**TWICE, "per": "cart"}, channel="email")
    town = shop(campaign)
    for cart in ("x", "y", "z"):
        town.send("anna", "a", 0, message_id=f"a {cart}", cart=cart)
    assert counted(town, 0) == {campaign.trigger.key: 1}
    for cart in ("x", "y"):
        town.send("anna", "b", SECOND, message_id=f"b {cart}", cart=cart)
    assert counted(town, SECOND) == {campaign.trigger.key: 1}
    town.send("anna", "b", SECOND, cart="z")
    assert counted(town, SECOND) == {}


def test_a_user_who_is_forgotten_or_dropped_is_counted_no_more(shop: ShopMaker) -> None:
    """Nothing of the user stays in the store. A changed trigger drops its users at their next event."""
    old = compiled(TWICE, channel="email")
    town = shop(old)
    for user in ("anna", "bob", "cyd"):
        town.send(user, "a", 0)
    user_admin.forget(ForgetUser("demo", "anna"), town.deps)
    assert counted(town, 0) == {old.trigger.key: 2}
    assert not any(b"anna" in member for key in town.redis.keys("*:w:demo") for member in town.redis.zrange(key, 0, -1))
    new = compiled({**TWICE, "within": "20m"}, channel="email")
    town.publish([new], generation=1)
    town.deps.rulesets.reload()
    assert counted(town, 0) == {old.trigger.key: 2}  # as a publish reports it, before it takes effect
    town.send("bob", "a", SECOND)
    assert counted(town, SECOND) == {old.trigger.key: 1, new.trigger.key: 1}


def test_a_visitor_who_becomes_a_user_is_counted_once(shop: ShopMaker) -> None:
    """As the user, for as long as the user's progress can lead to a match."""
    campaign = compiled(TWICE, channel="email")
    town = shop(campaign)
    town.send("anon:v1", "a", 0)
    town.send("bob", "a", MINUTE)
    for visitor, user in (("anon:v1", "anna"), ("anon:v2", "bob")):
        identification = Identification(user, received=T0 + MINUTE, visitor=visitor)
        become_user("demo", identification, town.deps)
    assert counted(town, MINUTE) == {campaign.trigger.key: 2}
    assert counted(town, 10 * MINUTE) == {campaign.trigger.key: 1}
    town.send("anna", "b", MINUTE)
    assert counted(town, MINUTE) == {campaign.trigger.key: 1}


def test_what_is_over_goes_by_itself(shop: ShopMaker) -> None:
    """The next progress in the partition removes it. The rest lives no longer than the rows."""
    town = shop(compiled(TWICE, channel="email"))
    number = keys.partition("demo", "anna")
    others = [f"u{n}" for n in range(20_000) if keys.partition("demo", f"u{n}") == number][:5]
    for user in others:
        town.send(user, "a", 0)
    place = keys.in_progress(number, "demo")
    assert town.redis.zcard(place) == len(others)
    town.send("anna", "a", 11 * MINUTE)
    assert town.redis.zcard(place) == 1
    row = keys.row(number, "demo", "anna")
    assert 0 < town.redis.pttl(place) <= town.redis.pttl(row) + 1000


def until(run: RunProgress) -> int:
    """Return from when on (ms) the progress of a run leads nowhere."""
    return max([run.due, *(each.until for each in run.reached)])


@pytest.mark.parametrize("clustered", [False, True], ids=["alone", "cluster"])
def test_the_counts_are_those_of_the_rows(
    clustered: bool, cluster_url: str, redis_client: Redis, mongodb: Database[dict[str, Any]]
) -> None:
    """Random events of many users: the counts equal those of inspecting each user."""
    triggers = [TWICE, {"all_of": [{"event": "a"}, {"event": "c"}], "within": "3m"}, LEFT]
    campaigns = [compiled(each, name=f"c{n}", channel="email") for n, each in enumerate(triggers)]
    client: Any = connect(cluster_url, cluster=True) if clustered else redis_client
    town = Shop(client, mongodb, campaigns)
    rng = random.Random(5)
    users = [f"user-{n}" for n in range(60)]
    at = 0
    for n in range(600):
        at += rng.randrange(4000)
        town.send(rng.choice(users), rng.choice(["a", "b", "c", "add", "order"]), at, message_id=f"m{n}")
    expected = Counter[str]()
    for user in users:
        row = msgspec.convert(user_admin.inspect(InspectUser("demo", user), town.deps), UserSnapshot).row
        for trigger in {each.trigger for each in (row.runs if row else ()) if until(each) > T0 + at}:
            expected[trigger] += 1
    assert counted(town, at) == dict(expected)
    assert len(expected) == len(campaigns)


def test_a_rollback_keeps_progress_under_what_is_the_same(
    redis_client: Redis, mongodb: Database[dict[str, Any]]
) -> None:
    """Another text, then back: the second event matches. Another window, then back: that progress is dropped."""
    site = {"id": "shop", "name": "S", "keys": [{"kind": "public", "key": "wk_public"}]}
    written = {"id": "c", "name": "C", "targets": "everyone", "channel": "popup"}

    def put_live(title: str, within: str) -> None:
        trigger = {**TWICE, "within": within}
        campaign = written | {"trigger": trigger, "content": {"title": title}}
        publish(mongodb, define({"site": site, "campaigns": [campaign]}), [write_key("wk_public")])

    put_live("One", "10m")
    rules, post = live_rulesets(mongodb, every_s=1), Post()
    deps = decider_deps(rules, redis_client, mongodb, post)

    def matches(user: str, event: str) -> int:
        rules.reload()
        one = Event(user, event, f"{user} {event} {rules.get()['shop'].index.ruleset.version}", T0, T0)
        before = len(post.shown)
        ingest(Decide("shop", [one], deadline=T0 + 2000), deps)
        return len(post.shown) - before

    matches("anna", "a")
    put_live("Two", "10m")
    matches("bob", "a")
    roll_back(mongodb, "shop", 1)
    assert [matches(user, "b") for user in ("anna", "bob")] == [1, 1]
    matches("cyd", "a")
    put_live("One", "20m")
    matches("dan", "a")
    roll_back(mongodb, "shop", 1)
    assert [matches(user, "b") for user in ("cyd", "dan")] == [1, 0]
