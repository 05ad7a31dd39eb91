"""Refresh targets in a real MongoDB: full and partial refreshes, the switch of generations, and rollbacks."""

from typing import Any

import pytest
from bson import decode
from pymongo import MongoClient, monitoring

from refresher import lease
from refresher.plan import CHANGED, ROLLBACK
from shared.errors import InvalidDefinition, InvalidRequest
from shared.groups import belongs
from shared.ruleset import Compound, TargetGroup
from tests.support.sites import (
    NOW,
    Db,
    collections,
    control,
    crowd,
    customers,
    listed,
    made,
    one,
    publish,
    retire,
    rule,
    run,
    targets,
)

DAY = 86_400_000


def test_rules_and_lists_become_targets(mongodb: Db) -> None:
    """Each user has one row with all groups they were found in. Other users and sites have none."""
    customers(mongodb, ada={"tier": "vip"}, bob={"tier": "free"}, cyd={"tier": "vip", "age": 20}, dan={})
    customers(mongodb, "other", eve={"tier": "vip"})
    customers(mongodb, "demo2", fay={"tier": "vip"})
    listed(mongodb, "many", "u2", site="other")
    publish(
        mongodb,
        rule("vips", tier="vip"),
        rule("young", age={"lt": 30}),
        listed(mongodb, "few", "bob", "zoe", "bob"),
        listed(mongodb, "many", "u1", "ünï", "~"),
    )
    refreshed = one(mongodb)
    assert refreshed == (1, 7, ("vips", "young", "few", "many"), ())
    assert targets(mongodb) == {
        "ada": ["vips"],
        "cyd": ["vips", "young"],
        "bob": ["few"],
        "zoe": ["few"],
        "u1": ["many"],
        "ünï": ["many"],
        "~": ["many"],
    }
    assert (control(mongodb)["generation"], control(mongodb)["ruleset"]) == (1, 1)


def test_a_site_without_groups_gets_an_empty_generation(mongodb: Db) -> None:
    """The generation exists and is empty."""
    publish(mongodb)
    assert one(mongodb) == (1, 0, (), ())
    assert collections(mongodb) == ["targets_demo_1"]


def test_relative_dates_count_from_now(mongodb: Db) -> None:
    """A month later, the same rule finds other users."""
    customers(mongodb, ada={})
    mongodb.customers.update_one({}, [{"$set": {"attributes.last_login": {"$toDate": NOW - 10 * DAY}}}])
    publish(mongodb, rule("recent", last_login={"gte": "-30d"}))
    assert one(mongodb).users == 1
    assert one(mongodb, now=NOW + 30 * DAY).users == 0


def test_a_generation_stays_while_a_reader_may_hold_its_pointer(mongodb: Db) -> None:
    """Refreshes in quick succession drop nothing. Ten minutes later, only the previous generation remains."""
    mongodb["targets_demo_extra_1"].insert_one({"_id": "x"})
    mongodb["targets_demo2_1"].insert_one({"_id": "x"})
    publish(mongodb, rule("vips", tier="vip"))
    for number in (1, 2, 3):
        mongodb.customers.drop()
        customers(mongodb, **{f"u{number}": {"tier": "vip"}})
        assert one(mongodb).generation == number
    assert {"targets_demo_1", "targets_demo_2", "targets_demo_3"} <= set(collections(mongodb))
    assert targets(mongodb, 1) == {"u1": ["vips"]}
    retire(mongodb, minutes=10)
    one(mongodb)
    assert collections(mongodb) == ["targets_demo2_1", "targets_demo_3", "targets_demo_4", "targets_demo_extra_1"]
    assert [each["generation"] for each in control(mongodb)["retired"]] == [3]
    assert targets(mongodb, 3) == {"u3": ["vips"]}


def test_a_generation_is_kept_for_ten_minutes(mongodb: Db) -> None:
    """A refresh nine minutes later still finds readers of the old pointer."""
    publish(mongodb, rule("vips", tier="vip"))
    for _ in range(2):
        one(mongodb)
    retire(mongodb, minutes=9)
    one(mongodb)
    one(mongodb)
    assert "targets_demo_1" in collections(mongodb)


def test_the_previous_generation_stays_however_old_it_is(mongodb: Db) -> None:
    """It is there for a rollback."""
    publish(mongodb, rule("vips", tier="vip"))
    one(mongodb)
    one(mongodb)
    retire(mongodb, minutes=60 * 24)
    lease.request_refresh(mongodb, "demo")
    assert collections(mongodb) == ["targets_demo_1", "targets_demo_2"]
    one(mongodb)
    assert collections(mongodb) == ["targets_demo_2", "targets_demo_3"]


def test_a_broken_rule_changes_nothing(mongodb: Db) -> None:
    """The generation in use stays, no partial collection remains, and the next refresh can run."""
    customers(mongodb, ada={"tier": "vip"})
    publish(mongodb, rule("vips", tier="vip"))
    one(mongodb)
    publish(mongodb, rule("vips", tier={"nosuch": 1}), version=2)
    with pytest.raises(InvalidDefinition, match="nosuch"):
        run(mongodb)
    assert collections(mongodb) == ["targets_demo_1"]
    assert targets(mongodb) == {"ada": ["vips"]}
    publish(mongodb, rule("vips", tier="vip"), version=3)
    assert one(mongodb).users == 1


def test_a_site_that_was_never_published_is_refused(mongodb: Db) -> None:
    """Without a ruleset there are no target groups."""
    with pytest.raises(InvalidRequest, match="nothing was ever published"):
        run(mongodb)


def test_what_is_not_ours_is_not_mixed_in(mongodb: Db) -> None:
    """An existing collection with the next number is emptied first."""
    mongodb["targets_demo_1"].insert_one({"_id": "ghost", "groups": ["vips"]})
    customers(mongodb, ada={"tier": "vip"})
    publish(mongodb, rule("vips", tier="vip"))
    one(mongodb)
    assert targets(mongodb) == {"ada": ["vips"]}


def test_only_what_has_changed_is_looked_for_again(mongodb: Db) -> None:
    """Changed rules, changed lists and new groups are found anew. Others are copied, even if customers changed."""
    customers(mongodb, ada={"tier": "vip", "age": 20}, bob={"tier": "free", "age": 50})
    publish(mongodb, rule("vips", tier="vip"), rule("young", age={"lt": 30}), listed(mongodb, "few", "zoe"))
    one(mongodb)
    customers(mongodb, ada={"tier": "free", "age": 60}, bob={"tier": "vip", "age": 20})
    groups = (rule("vips", tier="vip"), rule("young", age={"lt": 25}), listed(mongodb, "few", "zoe", "yan"))
    publish(mongodb, *groups, rule("old", age={"gt": 40}), version=2)
    assert one(mongodb, CHANGED) == (2, 4, ("young", "few", "old"), ("vips",))
    assert targets(mongodb) == {"ada": ["old", "vips"], "bob": ["young"], "zoe": ["few"], "yan": ["few"]}
    assert run(mongodb, CHANGED).generations == [], "nothing has changed since"
    assert one(mongodb, "vips") == (4, 4, ("vips",), ("young", "few", "old"))
    assert targets(mongodb)["bob"] == ["vips", "young"]


def test_a_campaign_or_a_combination_needs_no_refresh(mongodb: Db) -> None:
    """Rules and lists did not change, and campaigns and combinations are evaluated at run time."""
    customers(mongodb, ada={"tier": "vip"})
    publish(mongodb, rule("vips", tier="vip"), listed(mongodb, "few", "bob"), campaigns={"a": ["vips"]})
    one(mongodb)
    again = (rule("vips", tier="vip"), listed(mongodb, "few", "bob"), made("both", any_of=["vips", "few"]))
    publish(mongodb, *again, campaigns={"a": ["few"], "b": ["both"]}, version=2)
    assert run(mongodb, CHANGED).generations == []


def test_a_group_that_is_gone_is_forgotten_with_the_next_generation(mongodb: Db) -> None:
    """A rule that returns under its old name is found anew."""
    customers(mongodb, ada={"tier": "vip"}, bob={"age": 20})
    vips, young = rule("vips", tier="vip"), rule("young", age={"lt": 30})
    publish(mongodb, vips, young)
    one(mongodb)
    publish(mongodb, vips, version=2)
    one(mongodb, "vips")
    assert targets(mongodb) == {"ada": ["vips"]}
    publish(mongodb, vips, young, version=3)
    assert one(mongodb, CHANGED).found == ("young",)
    assert targets(mongodb) == {"ada": ["vips"], "bob": ["young"]}


def test_the_way_back_is_a_generation_of_its_own(mongodb: Db) -> None:
    """A rollback gives the old content a new number. A second one undoes it, and the next refresh starts fresh."""
    publish(mongodb, rule("vips", tier="vip"))
    assert run(mongodb, ROLLBACK).generations == [], "there is no generation before"
    customers(mongodb, ada={"tier": "vip"})
    one(mongodb)
    customers(mongodb, ada={"tier": "free"}, bob={"tier": "vip"})
    one(mongodb)
    assert one(mongodb, ROLLBACK) == (4, 1, (), ("vips",))
    assert targets(mongodb) == {"ada": ["vips"]}
    assert {"targets_demo_3", "targets_demo_4"} <= set(collections(mongodb))
    one(mongodb, ROLLBACK)
    assert targets(mongodb) == {"bob": ["vips"]}
    customers(mongodb, cyd={"tier": "vip"})
    one(mongodb)
    assert targets(mongodb) == {"bob": ["vips"], "cyd": ["vips"]}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (made("g", any_of=["a", "b"]), {"a", "b", "ab", "abc", "ac", "bc"}),
        (made("g", all_of=["a", "b"]), {"ab", "abc"}),
        (made("g", rule={"a": 1}, none_of=["b", "c"]), {"a"}),
        (made("g", any_of=["a", "b"], none_of=["c"]), {"a", "b", "ab"}),
        (made("g", any_of=["a", "b"], all_of=["c"]), {"ac", "bc", "abc"}),
        (TargetGroup("g", rule={}, made=Compound(own=True, none_of=["a"])), {"b", "c", "bc", "-"}),
        (made("g", any_of=["inner"], none_of=["b"]), {"a", "ac"}),
    ],
    ids=lambda value: repr(value.made) if isinstance(value, TargetGroup) else "",
)
def test_groups_made_of_others(mongodb: Db, group: TargetGroup, expected: set[str]) -> None:
    """Unions, intersections, exclusions and nested groups work."""
    users = ["a", "b", "c", "ab", "ac", "bc", "abc", "-"]
    customers(mongodb, **{user: dict.fromkeys(user.replace("-", ""), 1) for user in users})
    inner = made("inner", all_of=["a"])
    publish(mongodb, rule("a", a=1), rule("b", b=1), rule("c", c=1), inner, group)
    one(mongodb)
    compounds = {each.id: each.made for each in (inner, group) if each.made}
    found = targets(mongodb)
    assert {user for user in users if belongs("g", found.get(user, []), compounds)} == expected


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_parts_of_any_size_make_the_same_generation(mongodb: Db, size: int) -> None:
    """Customers, list members and copied rows: no user is lost or duplicated where parts meet."""
    crowd(mongodb, 23)
    many = listed(mongodb, "many", *(f"u{n:05}" for n in range(0, 60, 4)), "aaa", "zzz", "ü")
    publish(mongodb, rule("vips", tier="vip"), rule("young", age=20), many)
    one(mongodb, part_size=size)
    expected: dict[str, list[str]] = {user: ["many"] for user in ("aaa", "zzz", "ü")}
    for n in range(60):
        groups = [("many", n % 4 == 0), ("vips", n % 2 == 0 and n < 23), ("young", n % 3 == 0 and n < 23)]
        names = sorted(name for name, is_in in groups if is_in)
        if names:
            expected[f"u{n:05}"] = names
    assert targets(mongodb) == expected
    one(mongodb, "young", part_size=size)
    assert targets(mongodb) == expected


class Replies(monitoring.CommandListener):
    """Records the rows that MongoDB returns, with their collection."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Ignore the start of a command."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Record the returned rows."""
        cursor = event.reply.get("cursor", {})
        name = cursor.get("ns", "").partition(".")[2]
        for row in [*cursor.get("firstBatch", []), *cursor.get("nextBatch", [])]:
            self.rows.append((name, row if isinstance(row, dict) else decode(row.raw)))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Ignore a failed command."""


def test_no_customer_comes_to_python(mongodb: Db) -> None:
    """For 200 customers, MongoDB returns only the id at which each part ends."""
    crowd(mongodb, 200)
    publish(mongodb, rule("vips", tier="vip"), rule("young", age={"lt": 30}))
    replies = Replies()
    with MongoClient[dict[str, Any]](*_address(mongodb), event_listeners=[replies], tz_aware=True) as client:
        one(client[mongodb.name], part_size=50)
    customers_seen = [row for name, row in replies.rows if name in ("customers", "targets_demo_1")]
    assert [row for row in customers_seen if set(row) != {"_id"} and set(row) != {"n", "_id"}] == []
    assert 0 < len(customers_seen) <= 8


def _address(database: Db) -> tuple[str]:
    host, port = database.client.address or ("", 0)
    return (f"mongodb://{host}:{port}/?directConnection=true",)
