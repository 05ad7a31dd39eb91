"""Inspect a user on real servers, beside the code that decides."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis
from redis.cluster import RedisCluster

from decider import keys, user_admin
from decider.user_admin import RunProgress, UserSnapshot
from shared.contracts import InspectUser
from shared.errors import InvalidRequest
from shared.ruleset import CANCEL, Campaign, Limits, Matcher, Quota
from tests.integration.decider.test_gates import ADD, HOUR, PAY, House, campaign, cart
from tests.integration.decider.test_wake import LEFT, MINUTE, SECOND, T0, WAIT, Shop
from tests.support.builders import compiled

pytestmark = pytest.mark.both_engines

HouseMaker = Callable[..., House]


@pytest.fixture(name="house")
def _house(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> HouseMaker:
    def make(*campaigns: Campaign, **caps: Quota) -> House:
        return House(redis_client, mongodb, campaigns, caps)

    return make


def look(shop: Shop, user: str = "anna", site: str = "demo") -> UserSnapshot:
    """Return the Decider's snapshot of a user."""
    return msgspec.convert(user_admin.inspect(InspectUser(site, user), shop.deps), UserSnapshot)


def run_of(shop: Shop, user: str = "anna") -> RunProgress:
    """Return the only run of a user."""
    row = look(shop, user).row
    assert row is not None
    (run,) = row.runs
    return run


SEQUENCES: list[tuple[dict[str, Any], list[tuple[str, int]], str]] = [
    ({"sequence": [{"event": "a", "times": 3}], "within": "10m"}, [("a", 0), ("a", MINUTE)], "within"),
    ({"sequence": [{"event": "a"}, {"event": "b", "gap": "2m"}], "within": "1h"}, [("a", 0)], "gap"),
    ({"sequence": [{"event": "a", "times": 3, "inner": "90s"}], "within": "1h"}, [("a", 0), ("a", SECOND)], "inner"),
    (
        {"sequence": [{"event": "a"}, {"event": "b", "times": 2, "inner": "1m"}], "within": "2m"},
        [("a", 0), ("b", MINUTE + SECOND)],
        "within",
    ),
    ({"all_of": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "5m"}, [("b", 0), ("a", MINUTE)], "within"),
]


@pytest.mark.parametrize(("trigger", "events", "limit"), SEQUENCES, ids=lambda value: str(value)[:40])
def test_the_next_event_counts_until_the_time_that_is_told_and_not_then(
    trigger: dict[str, Any], events: list[tuple[str, int]], limit: str, house: HouseMaker
) -> None:
    """The machine agrees: one millisecond before that time the event counts, at that time it does not."""
    home = house(compiled(trigger, channel="email"))
    for user in ("early", "late"):
        for event, at in events:
            home.send(user, event, at)
    before = run_of(home, "early")
    members = "all_of" in trigger
    bound = min(before.reached, key=lambda each: each.until) if members else before.reached[-1]
    assert (bound.limit, bound.since) == (limit, T0)
    assert (len(before.reached) if members else bound.events) == len(events)
    following = "c" if members else trigger["sequence"][-1]["event"]
    home.send("early", following, bound.until - T0 - 1)
    home.send("late", following, bound.until - T0)
    further = [home.mails(user) for user in ("early", "late")]
    if before.of == len(events) + 1:
        assert [len(each) for each in further] == [1, 0]
    else:
        assert run_of(home, "early").reached[-1].events == len(events) + 1
        assert run_of(home, "late").reached[-1].events <= len(events)


def test_a_pending_absence_and_what_comes_but_once_are_told(house: HouseMaker) -> None:
    """The deadline and the anchor of an absence, and a campaign that is done with a user."""
    once = {"sequence": [{"event": "pay"}], "after_match": "once"}
    home = house(compiled(LEFT, channel="email", name="left"), compiled(once, channel="email", name="once"))
    home.send("anna", "add", 1000)
    home.send("bob", "pay", 2000)
    waits, done = run_of(home), run_of(home, "bob")
    assert (waits.due, waits.anchor, waits.since, waits.done) == (T0 + 1000 + WAIT, T0 + 1000, T0 + 1000, False)
    assert (done.done, done.due, done.reached) == (True, 0, [])


def test_runs_are_told_apart(house: HouseMaker) -> None:
    """Two carts are two runs with separate progress."""
    home = house(compiled({"sequence": [{"event": "add", "times": 3}], "within": "1h", "per": ["cart"]}))
    for cart_id, at in (("x", 0), ("y", 1), ("x", 2)):
        home.send("anna", "add", at, cart=cart_id)
    row = look(home).row
    assert row is not None
    assert {run.per: run.reached[-1].events for run in row.runs} == {'["x"]': 2, '["y"]': 1}


def test_what_is_counted_and_what_waits_are_told(house: HouseMaker) -> None:
    """The times of caps and of the campaign's own limit, and the delayed activation until it is cancelled."""
    home = house(cart(limits=Limits(again_after=HOUR)), email=Quota(2, HOUR))
    home.send("anna", "add", 5)
    row = look(home).row
    assert row is not None
    assert dict(row.counted) == {"=test": [T0 + 5], "cap:email": [T0 + 5]}
    assert [(each.campaign, each.due) for each in row.open] == [("test", T0 + 5 + 30 * MINUTE)]
    home.send("anna", "order", 6)
    row = look(home).row
    assert row is not None
    assert row.open == []


@pytest.fixture(name="make_targets")
def _make_targets(house: HouseMaker) -> HouseMaker:
    return lambda: house(compiled(PAY, everyone=False, name="three-wins", channel="email"))


def test_targets_are_those_of_the_row_or_of_the_collection(make_targets: HouseMaker) -> None:
    """Without targets in the row, or with those of an older generation: the collection. Otherwise: the row."""
    home = make_targets()
    home.target(1, anna=["three-wins"])
    assert (look(home).targets, look(home).row, look(home).known) == (["three-wins"], None, None)
    home.send("anna", "pay", 0)
    home.database.targets_demo_1.delete_many({})
    assert (look(home).targets, look(home).known) == (["three-wins"], (1, 1))
    home.target(2, bob=["three-wins"])
    home.publish_targets(2)
    home.rulesets.reload()
    assert (look(home).generation, look(home).targets, look(home).known) == (2, [], (1, 1))


def test_looking_changes_nothing(house: HouseMaker, redis_client: Redis) -> None:
    """The row is the same, byte for byte, and expires when it would have."""
    home = house(cart(), compiled(LEFT, channel="email", name="left"), email=Quota(2, HOUR))
    home.send("anna", "add", 0)
    names: Any = redis_client.keys("*")
    before = {name: redis_client.dump(name) for name in names}
    row = keys.row(keys.partition("demo", "anna"), "demo", "anna")
    redis_client.pexpire(row, 60_000)
    assert look(home).row is not None
    assert {name: redis_client.dump(name) for name in names} == before
    assert 0 < redis_client.pttl(row) <= 60_000


def test_an_unknown_user_and_an_unknown_site(house: HouseMaker) -> None:
    """A user without a row has no snapshot of one. An unknown site is an error with a code."""
    home = house(campaign())
    assert look(home, "nobody").row is None
    with pytest.raises(InvalidRequest) as raised:
        look(home, site="elsewhere")
    assert raised.value.code == "unknown_site"


def test_looking_works_in_a_cluster(cluster_url: str, mongodb: Database[dict[str, Any]]) -> None:
    """One key in one slot, on any node."""
    with RedisCluster.from_url(cluster_url) as cluster:
        home = House(cluster, mongodb, [campaign(LEFT)], {})
        for n in range(10):
            home.send(f"user-{n}", "add", n)
        assert [run_of(home, f"user-{n}").anchor - T0 for n in range(10)] == list(range(10))


def keys_of(campaigns: Sequence[Campaign]) -> dict[str, str]:
    """Return ids by trigger key."""
    return {each.trigger.key: each.id for each in campaigns}


def test_only_live_triggers_are_told(house: HouseMaker) -> None:
    """Progress under a trigger that has ended is not reported, although it is still stored."""
    old, new = campaign(LEFT, name="old"), campaign(ADD, name="new", delay=HOUR, watchers=[Matcher(["x"], CANCEL)])
    home = house(old, new)
    home.send("anna", "add", 0)
    home.publish([new], generation=1)
    home.rulesets.reload()
    row = look(home).row
    assert row is not None
    assert {keys_of([new]).get(run.trigger) for run in row.runs} <= {"new"}
    assert [each.campaign for each in row.open] == ["new"]
