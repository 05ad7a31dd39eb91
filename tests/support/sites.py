"""A site's control row, groups and customers as tests of targets need them, and what refreshes made of them."""

from collections.abc import Iterable
from typing import Any

import msgspec
from pymongo.database import Database

from definitions.publishing import lists
from refresher.plan import ALL
from refresher.refresh import Outcome, Refreshed, Way, refresh
from shared.ruleset import Campaign, Compound, Ruleset, TargetGroup, Trigger

NOW = 1_790_000_000_000  # 2026-09-21
Db = Database[dict[str, Any]]


def rule(name: str, **condition: Any) -> TargetGroup:
    """Return a group by rule."""
    return TargetGroup(name, rule=condition)


def made(name: str, *, rule: dict[str, Any] | None = None, **others: list[str]) -> TargetGroup:
    """Return a group made of others."""
    return TargetGroup(name, rule=rule, made=Compound(own=rule is not None, **others))


def listed(database: Db, name: str, *users: str, site: str = "demo") -> TargetGroup:
    """Write a list; return the group of its users."""
    return TargetGroup(name, list=lists.write(database, site, users))


def publish(
    database: Db,
    *groups: TargetGroup,
    site: str = "demo",
    version: int = 1,
    campaigns: dict[str, list[str]] | None = None,
) -> None:
    """Make *groups* live, and *campaigns* with the names of theirs."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    compounds = {group.id: group.made for group in groups if group.made}
    compiled = [
        Campaign(name, "1", name, trigger, "popup", {}, groups=names, compounds=compounds)
        for name, names in (campaigns or {}).items()
    ]
    parts = {
        "ruleset": msgspec.to_builtins(Ruleset(site, version, [], compiled)),
        "groups": msgspec.to_builtins(list(groups)),
    }
    database.rulesets.insert_one({"_id": f"{site}:{version}", "site": site, **parts})
    database.control.update_one(
        {"_id": site}, {"$set": {"ruleset": version}, "$setOnInsert": {"generation": 0}}, upsert=True
    )


def customers(database: Db, site: str = "demo", /, **users: Any) -> None:
    """Write customers; those who are there get new attributes."""
    for user, attributes in users.items():
        row = {"_id": f"{site}:{user}", "site": site, "user": user, "attributes": attributes}
        database.customers.replace_one({"_id": row["_id"]}, row, upsert=True)


def crowd(database: Db, number: int, *, site: str = "demo") -> None:
    """Write *number* customers ``u00000`` …, every second one a VIP, every third one young."""
    database.customers.insert_many(
        [
            {
                "_id": f"{site}:u{n:05}",
                "site": site,
                "user": f"u{n:05}",
                "attributes": {"tier": "vip" if n % 2 == 0 else "free", "age": 20 if n % 3 == 0 else 50},
            }
            for n in range(number)
        ]
    )


def run(database: Db, *wishes: str, site: str = "demo", now: int = NOW, **way: Any) -> Outcome:
    """Refresh; everything, if nothing is said."""
    return refresh(database, site, wishes or (ALL,), Way(way.pop("owner", "test"), lambda: now, **way))


def one(database: Db, *wishes: str, **options: Any) -> Refreshed:
    """Refresh; return the one generation that came of it."""
    (generation,) = run(database, *wishes, **options).made
    return generation


def targets(database: Db, generation: int | None = None, site: str = "demo") -> dict[str, list[str]]:
    """Return users and their groups of one generation; default: the one that readers are pointed to."""
    number = control(database, site)["generation"] if generation is None else generation
    return {row["_id"]: sorted(row["groups"]) for row in database[f"targets_{site}_{number}"].find()}


def control(database: Db, site: str = "demo") -> dict[str, Any]:
    """Return the site's row."""
    row = database.control.find_one({"_id": site})
    assert row is not None
    return row


def collections(database: Db) -> list[str]:
    """Return the names of all targets collections."""
    return sorted(name for name in database.list_collection_names() if name.startswith("targets_"))


def expire(database: Db, sites: Iterable[str] = ("demo",)) -> None:
    """Let the owners of all refreshes be away for too long."""
    for site in sites:
        database.control.update_one({"_id": site, "refresh": {"$ne": None}}, [{"$set": {"refresh.until": "$$NOW"}}])
