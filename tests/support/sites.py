"""Set up control rows, groups and customers for tests of targets, and read the results of refreshes."""

from collections.abc import Iterable
from typing import Any

import msgspec
from pymongo.database import Database

from definitions.publishing import lists
from refresher.plan import ALL
from refresher.refresh import Refreshed, RefreshOptions, RefreshResult, refresh
from shared.ruleset import Campaign, Compound, Ruleset, TargetGroup, Trigger
from shared.targets import ONLY_USERS

NOW = 1_790_000_000_000  # 2026-09-21
Db = Database[dict[str, Any]]


def rule(name: str, **condition: Any) -> TargetGroup:
    """Return a group by rule."""
    return TargetGroup(name, rule=condition)


def made(name: str, *, rule: dict[str, Any] | None = None, **others: list[str]) -> TargetGroup:
    """Return a group that combines others."""
    return TargetGroup(name, rule=rule, made=Compound(own=rule is not None, **others))


def listed(database: Db, name: str, *users: str, site: str = "demo") -> TargetGroup:
    """Write a list and return its group."""
    return TargetGroup(name, list=lists.write(database, site, users))


def publish(
    database: Db,
    *groups: TargetGroup,
    site: str = "demo",
    version: int = 1,
    campaigns: dict[str, list[str]] | None = None,
) -> None:
    """Publish *groups*, and *campaigns* by name with their groups."""
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
    """Write customers; replace the attributes of existing ones."""
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


def run(database: Db, *requested: str, site: str = "demo", now: int = NOW, **options: Any) -> RefreshResult:
    """Refresh what is requested, by default everything."""
    return refresh(
        database, site, requested or (ALL,), RefreshOptions(options.pop("owner", "test"), lambda: now, **options)
    )


def one(database: Db, *requested: str, **options: Any) -> Refreshed:
    """Refresh and return the only new generation."""
    (generation,) = run(database, *requested, **options).generations
    return generation


def targets(database: Db, generation: int | None = None, site: str = "demo") -> dict[str, list[str]]:
    """Return the users of one generation with their groups; by default of the current one."""
    number = control(database, site)["generation"] if generation is None else generation
    return {row["_id"]: sorted(row["groups"]) for row in database[f"targets_{site}_{number}"].find(ONLY_USERS)}


def control(database: Db, site: str = "demo") -> dict[str, Any]:
    """Return the site's row of ``control``."""
    row = database.control.find_one({"_id": site})
    assert row is not None
    return row


def collections(database: Db) -> list[str]:
    """Return the names of all targets collections."""
    return sorted(name for name in database.list_collection_names() if name.startswith("targets_"))


def expire(database: Db, sites: Iterable[str] = ("demo",)) -> None:
    """Expire the leases of all refreshes."""
    for site in sites:
        database.control.update_one({"_id": site, "refresh": {"$ne": None}}, [{"$set": {"refresh.expires": "$$NOW"}}])


def retire(database: Db, *, minutes: int) -> None:
    """Let all generations have been retired *minutes* ago."""
    at = {"$dateSubtract": {"startDate": "$$NOW", "unit": "minute", "amount": minutes}}
    each = {"$mergeObjects": ["$$this", {"at": at}]}
    database.control.update_one({}, [{"$set": {"retired": {"$map": {"input": "$retired", "in": each}}}}])
