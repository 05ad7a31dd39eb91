"""Traits of customers, written by `identify`: typed, merged, idempotent. On real MongoDB."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.database import Database

from decider.records import MongoRecords
from shared.identities import Introduction
from tests.integration.test_decider import FIND_OPERATIONS

Write = Callable[..., list[str]]


@pytest.fixture(name="write")
def _write(mongodb: Database[dict[str, Any]]) -> Write:
    records = MongoRecords(mongodb)

    def write(user: str = "anna", **traits: Any) -> list[str]:
        return records.write_traits("shop", [Introduction(user, 0, traits)])

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
    """As with imports; text may stand for a scalar, and what does not fit is named and left out."""
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


@pytest.mark.parametrize("name", ["", "a.b", "$set", "a\0b"])
def test_names_that_mean_something_else_to_the_database_are_left_out(
    mongodb: Database[dict[str, Any]], write: Write, name: str
) -> None:
    """Also inside of an object: nothing is half written."""
    assert write(**{name: 1, "fine": 2}) == [name]
    assert write(inner={name: 1}) == ["inner"]
    assert write(big=2**63) == ["big"]
    assert attributes(mongodb) == {"fine": 2}


def test_a_request_is_a_bounded_number_of_calls(mongodb: Database[dict[str, Any]], write: Write) -> None:
    """Two where the attributes are known, whoever many users it is about."""

    def calls() -> int:
        counters = mongodb.client.admin.command("serverStatus")["opcounters"]
        return sum(counters[name] for name in FIND_OPERATIONS if name != "update")

    write(first_name="Anna")
    before = calls()
    MongoRecords(mongodb).write_traits("shop", [Introduction(f"u{n}", 0, {"first_name": f"U{n}"}) for n in range(50)])
    assert calls() - before == 1, "one look at the types; the updates are one call"
    assert mongodb.customers.count_documents({}) == 51


def test_the_later_of_two_in_a_request_wins(mongodb: Database[dict[str, Any]]) -> None:
    """Attribute by attribute, as if they had come one by one."""
    traits: list[dict[str, Any]] = [{"a": 1, "b": 1, "c": 1}, {"a": 2, "b": None}, {"b": 3, "c": None}]
    MongoRecords(mongodb).write_traits("shop", [Introduction("anna", 0, each) for each in traits])
    assert attributes(mongodb) == {"a": 2, "b": 3}
