"""Make the next generation of a site's targets, inside MongoDB; no customer comes to Python.

    reserve number n ─▶ fill targets_<site>_<n> ─▶ control: generation → n, if nothing moved ─▶ drop old ones

Readers follow the pointer in ``control``, so they never see half a list. The generation before is kept:
a reader that has just read the pointer still finds what it points to. Two refreshes at once fill
collections of their own, and one of them gets the pointer.
"""

import re
from collections import defaultdict
from typing import NamedTuple

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from shared import conditions, mongodb
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document, guarded
from shared.ruleset import Ruleset, TargetGroup


class Refreshed(NamedTuple):
    """A new generation: how many users are targets, of how many campaigns.

    ``missing``: target groups that campaigns name and nobody has defined; they count as empty.
    """

    generation: int
    users: int
    campaigns: int
    missing: tuple[str, ...] = ()


class RefreshConflict(OpportuneError):
    """Another refresh, or a publish, came in between; the targets are as they were."""

    code = "refresh_conflict"
    retryable = True
    status = 409


class _Reserved(NamedTuple):
    number: int
    control: Document


def refresh(database: Database[Document], site: str, *, now: int) -> Refreshed:
    """Make the targets of *site* anew and switch to them; *now*, in ms, is what relative dates count from.

    Raises `InvalidDefinition` for a group's broken rule, `RefreshConflict` and `Unavailable`; whatever it
    raises, the generation in use stays as it was.
    """
    database = database.with_options(write_concern=WriteConcern("majority"))
    with guarded():
        reserved = _reserve(database, site)
        ruleset = mongodb.ruleset(database, site, reserved.control["ruleset"])
        wanted = _campaigns_by_group(ruleset)
        name = mongodb.targets_collection(site, reserved.number)
        database.drop_collection(name)  # what a refresh that died may have left
        try:
            database.create_collection(name)
            missing = _fill(database, reserved, wanted, now)
            users = database[name].count_documents({})
            _switch(database, site, reserved)
        except OpportuneError:
            database.drop_collection(name)
            raise
        _drop_older(database, site, than=reserved.control.get("generation") or 0)
    campaigns = {campaign for ids in wanted.values() for campaign in ids}
    return Refreshed(reserved.number, users, len(campaigns), tuple(missing))


def _reserve(database: Database[Document], site: str) -> _Reserved:
    """Take the next number for ourselves, whoever else refreshes; return it with the pointers as they are."""
    highest = {"$max": [{"$ifNull": ["$reserved", 0]}, {"$ifNull": ["$generation", 0]}]}
    control = database.control.find_one_and_update(
        {"_id": site, "ruleset": {"$gt": 0}},
        [{"$set": {"reserved": {"$add": [highest, 1]}}}],
        return_document=ReturnDocument.AFTER,
    )
    if control is None:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")
    return _Reserved(int(control["reserved"]), control)


def _campaigns_by_group(ruleset: Ruleset) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = defaultdict(list)
    for campaign in ruleset.campaigns:
        if not campaign.everyone:
            for group in dict.fromkeys(campaign.groups):
                wanted[group].append(campaign.id)
    return dict(wanted)


def _fill(database: Database[Document], reserved: _Reserved, wanted: dict[str, list[str]], now: int) -> list[str]:
    """Write the users of every group with its campaigns; return the groups that are not defined."""
    site, version = reserved.control["_id"], reserved.control["ruleset"]
    into = mongodb.targets_collection(site, reserved.number)
    groups = mongodb.target_groups(database, site, version)
    for name in wanted.keys() & groups.keys():
        source, stages = _members(site, groups[name], now)
        database[source].aggregate([*stages, *_merge(wanted[name], into)], allowDiskUse=True)
    return sorted(wanted.keys() - groups.keys())


def _members(site: str, group: TargetGroup, now: int) -> tuple[str, list[Document]]:
    """Return collection and stages that give the users of *group*, each as the field ``user``."""
    if group.list is not None:
        return "list_members", [{"$match": mongodb.in_list(site, group.list)}, {"$project": {"user": "$_id.user"}}]
    condition = conditions.parse(group.rule or {}, field=f"{group.id}.rule")
    matching = conditions.mongo_filter(condition, prefix="attributes.", now_ms=now)
    return "customers", [{"$match": {"$and": [{"site": site}, matching]}}]


def _merge(campaigns: list[str], into: str) -> list[Document]:
    both = {"$setUnion": ["$campaigns", "$$new.campaigns"]}
    return [
        {"$project": {"_id": "$user", "campaigns": {"$literal": campaigns}}},
        {
            "$merge": {
                "into": into,
                "on": "_id",
                "whenMatched": [{"$set": {"campaigns": both}}],
                "whenNotMatched": "insert",
            }
        },
    ]


def _switch(database: Database[Document], site: str, reserved: _Reserved) -> None:
    """Point readers to the new generation, unless ruleset or generation have changed since it was begun."""
    switched = database.control.update_one(
        {
            "_id": site,
            "ruleset": reserved.control["ruleset"],
            "generation": reserved.control.get("generation"),
        },
        {"$set": {"generation": reserved.number}},
    )
    if not switched.matched_count:
        raise RefreshConflict(f"targets of {site}: another refresh or a publish came in between")


def _drop_older(database: Database[Document], site: str, *, than: int) -> None:
    generation = re.compile(rf"targets_{re.escape(site)}_(\d+)")
    for name in database.list_collection_names(filter={"name": {"$regex": f"^targets_{re.escape(site)}_"}}):
        found = generation.fullmatch(name)
        if found and int(found[1]) < than:
            database.drop_collection(name)
