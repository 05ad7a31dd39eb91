"""Traits of customers that `identify` writes: typed, merged, idempotent. On a real MongoDB."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider.records import MongoRecords
from shared.contracts import Decide
from shared.errors import Unavailable
from shared.identities import Identification
from tests.integration.decider.test_user_state import together
from tests.support.builders import compiled
from tests.support.decider_harness import MONGODB_OPERATIONS, T0, DeciderHarness

Write = Callable[..., list[str]]


@pytest.fixture(name="write")
def _write(mongodb: Database[dict[str, Any]]) -> Write:
    records = MongoRecords(mongodb)

    def write(user: str = "anna", **traits: Any) -> list[str]:
        return records.write_traits("shop", [Identification(user, 0, traits)])

    return write


def attributes(mongodb: Database[dict[str, Any]], user: str = "anna") -> dict[str, Any] | None:
    """Return the attributes of a customer of the shop."""
    row = mongodb.customers.find_one({"_id": f"shop:{user}"})
    return None if row is None else row["attributes"]


def test_traits_become_attributes_and_those_that_are_not_said_stay(
    mongodb: Database[dict[str, Any]], write: Write
) -> None:
    """A new customer, then a change; `null` removes."""
    assert write(first_name="Anna", visits=3, address={"city": "Wien"}) == []
    assert write(visits=4, first_name=None) == []
    assert attributes(mongodb) == {"visits": 4, "address": {"city": "Wien"}}
    assert mongodb.customers.find_one({"_id": "shop:anna"}, {"site": 1, "user": 1}) == {
        "_id": "shop:anna",
        "site": "shop",
        "user": "anna",
    }
    assert write("berta", first_name=None) == []
    assert mongodb.customers.count_documents({"_id": "shop:berta"}) == 1


def test_the_first_value_says_the_type_and_later_ones_obey(mongodb: Database[dict[str, Any]], write: Write) -> None:
    """As in imports: text may represent a scalar, and a value that does not fit is named and left out."""
    write(since="2026-11-25", visits=3, vip=True, name="Anna", tags=["a"])
    assert attributes(mongodb) == {
        "since": datetime(2026, 11, 25, tzinfo=UTC),
        "visits": 3,
        "vip": True,
        "name": "Anna",
        "tags": ["a"],
    }
    assert write(since="soon", visits="many", vip="true", name=7, tags="b", more=1) == [
        "since",
        "visits",
        "name",
        "tags",
    ]
    assert write(visits="5") == []
    kept = attributes(mongodb) or {}
    assert (kept["visits"], kept["vip"], kept["name"], kept["more"]) == (5, True, "Anna", 1)
    assert {row["attribute"]: row["type"] for row in mongodb.customer_attributes.find({"site": "shop"})} == {
        "since": "date",
        "visits": "number",
        "vip": "boolean",
        "name": "text",
        "tags": "list",
        "more": "number",
    }


@pytest.mark.parametrize("stamp", [1569888000, 1569888000000, "1569888000000000", "2019-10-01 02:00:00 +0200"])
def test_a_date_is_read_as_in_events(mongodb: Database[dict[str, Any]], write: Write, stamp: Any) -> None:
    """Once the attribute is a date, a number of any unit is one too; a small number is not."""
    assert write(since="2019-09-30 00:00:00 UTC") == []
    assert write(since=stamp) == []
    assert attributes(mongodb) == {"since": datetime(2019, 10, 1, tzinfo=UTC)}
    assert write(since=7) == ["since"]
    assert write(since=True) == ["since"]


@pytest.mark.parametrize("name", ["", "a.b", "$set", "a\0b"])
def test_names_that_mean_something_else_to_the_database_are_left_out(
    mongodb: Database[dict[str, Any]], write: Write, name: str
) -> None:
    """Inside an object as well: nothing is written in part."""
    assert write(**{name: 1, "fine": 2}) == [name]
    assert write(inner={name: 1}) == ["inner"]
    assert write(big=2**63) == ["big"]
    assert attributes(mongodb) == {"fine": 2}


def test_a_request_is_a_bounded_number_of_calls(mongodb: Database[dict[str, Any]], write: Write) -> None:
    """Two if the attributes are known, for any number of users."""

    def calls() -> int:
        counters = mongodb.client.admin.command("serverStatus")["opcounters"]
        return sum(counters[name] for name in MONGODB_OPERATIONS if name != "update")

    write(first_name="Anna")
    before = calls()
    MongoRecords(mongodb).write_traits("shop", [Identification(f"u{n}", 0, {"first_name": f"U{n}"}) for n in range(50)])
    assert calls() - before == 1, "one look at the types; the updates are one call"
    assert mongodb.customers.count_documents({}) == 51


def test_the_later_of_two_in_a_request_wins(mongodb: Database[dict[str, Any]]) -> None:
    """The result is the same, attribute by attribute, as if they had come one by one."""
    traits: list[dict[str, Any]] = [{"a": 1, "b": 1, "c": 1}, {"a": 2, "b": None}, {"b": 3, "c": None}]
    MongoRecords(mongodb).write_traits("shop", [Identification("anna", 0, each) for each in traits])
    assert attributes(mongodb) == {"a": 2, "b": 3}


def said(at: int, user: str = "anna", **traits: Any) -> Identification:
    """Return an identification of a user at a time."""
    return Identification(user, 1000, traits, at=at)


def test_what_was_said_later_stays_whichever_comes_first(mongodb: Database[dict[str, Any]]) -> None:
    """A tracker that was offline sends old calls after new ones. The newest value of each attribute stays."""
    records = MongoRecords(mongodb)
    records.write_traits("shop", [said(500, tier="vip", city=None, visits=5)])
    records.write_traits("shop", [said(400, tier="free", city="Wien", name="Anna"), said(600, visits=6)])
    records.write_traits("shop", [said(450, visits=None, name=None)])
    assert attributes(mongodb) == {"tier": "vip", "visits": 6}
    records.write_traits("shop", [said(500, city="Graz"), said(500, city="Linz")])
    assert attributes(mongodb) == {"tier": "vip", "visits": 6, "city": "Linz"}


def test_of_two_in_a_request_the_one_that_was_said_later_wins(mongodb: Database[dict[str, Any]]) -> None:
    """A batch has no order either. A repetition changes nothing."""
    batch = [said(2, a=2, b=None), said(1, a=1, b=1, c=1), said(3, c=None, d="x")]
    for _ in range(2):
        MongoRecords(mongodb).write_traits("shop", batch)
        assert attributes(mongodb) == {"a": 2, "d": "x"}


def test_calls_at_once_end_as_in_order(mongodb: Database[dict[str, Any]]) -> None:
    """16 concurrent calls about a new customer, 20 rounds: the newest value of each attribute, no failure."""
    records = MongoRecords(mongodb)
    for n in range(20):
        user = f"user-{n}"
        calls = [said(at, user, last=at, **{f"only-{at}": True}) for at in range(1, 17)]
        random.Random(n).shuffle(calls)
        together(16, lambda m, calls=calls: records.write_traits("shop", [calls[m]]))
        found = attributes(mongodb, user) or {}
        assert (found["last"], len(found)) == (16, 17)


@pytest.mark.parametrize("name", ["", "a.b", "$x", "a\0b"])
def test_null_under_an_invalid_name_blocks_no_other_trait(
    mongodb: Database[dict[str, Any]], write: Write, name: str
) -> None:
    """The same for `null`: it is named and left out, and does not fail for ever."""
    assert write(**{name: None, "fine": 1}) == [name]
    assert attributes(mongodb) == {"fine": 1}


def test_one_users_null_does_not_hide_anothers_first_value(mongodb: Database[dict[str, Any]]) -> None:
    """An attribute is new, and one user of the batch has `null`: the first real value sets the type."""
    batch = [
        said(1, plan="pro", seats=3),
        said(1, "bob", plan=None, seats=None),
        said(1, "cyd", plan="free", seats="x"),
    ]
    assert MongoRecords(mongodb).write_traits("shop", batch) == ["seats"]
    assert (attributes(mongodb), attributes(mongodb, "cyd")) == ({"plan": "pro", "seats": 3}, {"plan": "free"})


def test_text_that_means_something_to_the_database_is_text(mongodb: Database[dict[str, Any]], write: Write) -> None:
    """A value, a user and a name that look like expressions of MongoDB."""
    assert write("$attributes.secret", name="$$NOW", list=["$site"], **{"first name": "$user", "7": 7}) == []
    assert attributes(mongodb, "$attributes.secret") == {
        "name": "$$NOW",
        "list": ["$site"],
        "first name": "$user",
        "7": 7,
    }
    assert (mongodb.customers.find_one({}) or {})["user"] == "$attributes.secret"


def test_a_customer_who_would_be_too_large_blocks_no_other(mongodb: Database[dict[str, Any]]) -> None:
    """A document may have 16 MB. The traits that do not fit are named, the others are stored, nothing is retried."""
    mongodb.customers.insert_one({"_id": "shop:anna", "attributes": {"long": "x" * (16 * 2**20 - 1000)}})
    batch = [said(1, essay="y" * 2000), said(1, "bob", essay="short")]
    assert MongoRecords(mongodb).write_traits("shop", batch) == ["essay"]
    assert attributes(mongodb, "bob") == {"essay": "short"}


def test_traits_that_cannot_be_stored_are_not_answered(mongodb: Database[dict[str, Any]], redis_client: Redis) -> None:
    """The caller hears that it should repeat the call; then they are stored."""

    class Away(MongoRecords):
        def write_traits(self, site: str, identifications: Any) -> list[str]:
            raise Unavailable(f"{len(identifications)} of {site} cannot be stored")

    home = DeciderHarness(redis_client, mongodb, [compiled({"sequence": [{"event": "pay"}]}, name="a")])
    request = Decide("shop", [Identification("anna", T0, {"plan": "pro"})], T0 + 2000)
    records, home.deps = home.deps.records, replace(home.deps, records=Away(mongodb))
    with pytest.raises(Unavailable):
        home.ingest(request)
    assert attributes(mongodb) is None
    home.deps = replace(home.deps, records=records)
    home.ingest(request)
    assert attributes(mongodb) == {"plan": "pro"}
