"""List, explain and upload the target groups that are live at a site."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from pymongo.collection import Collection
from pymongo.database import Database

from definitions.loading import user_list
from definitions.publishing import lists
from opportune.system import sites
from refresher import parts
from refresher.parts import Source
from refresher.plan import Plan, compute_fingerprint
from shared import groups, mongodb
from shared.clock import Clock
from shared.errors import InvalidRequest
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import Campaign, Compound, TargetGroup
from shared.targets import ONLY_USERS

SAMPLE_USERS = 5


class GroupSummary(NamedTuple):
    """A target group in a list. ``users``: its size in the current targets; ``None`` before the first refresh."""

    group: str
    kind: str
    users: int | None
    campaigns: list[str]


class QueryPlan(NamedTuple):
    """How MongoDB found the users of a group.

    by: the index.
    keys, documents: how many it read.
    ms: how long that took.
    """

    by: str
    keys: int
    documents: int
    ms: int


class GroupExplanation(NamedTuple):
    """The users of a group.

    sample: up to `SAMPLE_USERS` of them.
    generation: the generation of targets that they were read from; 0 if they were found just now.
    plan: how MongoDB found them just now.
    made: the groups that a combination consists of.
    """

    group: str
    kind: str
    users: int
    sample: list[str]
    campaigns: list[str]
    generation: int
    plan: QueryPlan | None = None
    made: dict[str, Any] | None = None


class UploadResult(NamedTuple):
    """An uploaded list: the number of its users, and whether it differs from the previous list."""

    users: int
    changed: bool


def list_groups(database: Database[Document], site: str) -> list[GroupSummary]:
    """Return the live target groups of *site*, with their sizes in the current targets."""
    live = _LiveSite(database, site)
    counts = live.count_users()
    return [
        GroupSummary(
            group.id,
            _kind(group),
            None
            if counts is None
            else sum(users for found, users in counts if groups.belongs(group.id, found, live.compounds)),
            live.campaigns_of(group.id),
        )
        for group in live.groups.values()
    ]


def explain_group(database: Database[Document], site: str, name: str, clock: Clock) -> GroupExplanation:
    """Return the users of the group *name*.

    The users of a rule or a list are found now, as a refresh would find them. The users of a combination are read
    from the current targets. Raise `InvalidRequest` if the group is not live, or if it is a combination and its site
    has no targets yet.
    """
    live = _LiveSite(database, site)
    group = live.groups.get(name)
    if group is None:
        known = ", ".join(live.groups) or "none"
        raise InvalidRequest(f"no target group {name!r} is live at {site}; known: {known}", code="unknown_group")
    campaigns = live.campaigns_of(name)
    if group.made is not None:
        if not live.generation:
            raise InvalidRequest(
                f"{name} combines other groups, and {site} has no targets yet: "
                f"run `opportune targets refresh --site {site}`",
                code="no_targets",
            )
        users, sample = live.members(name)
        made: dict[str, Any] = msgspec.to_builtins(group.made)
        return GroupExplanation(name, _kind(group), users, sample, campaigns, live.generation, made=made)
    fingerprint = compute_fingerprint(group, live.uploads)
    sources = list(parts.find_sources(site, Plan(0, clock(), find={name: fingerprint}), live.groups))
    if not sources:  # a group for uploads, without an upload
        return GroupExplanation(name, _kind(group), 0, [], campaigns, 0)
    (source,) = sources
    users, sample, plan = _find_users(database, source)
    return GroupExplanation(name, _kind(group), users, sample, campaigns, 0, plan=plan)


def upload_list(database: Database[Document], site: str, name: str, file: Path) -> UploadResult:
    """Replace the users of the group *name* with those in *file*, one id a line.

    The complete list is written before the group points to it. Raise `InvalidRequest` if the group is not live with
    ``list: uploaded``, and `InvalidFiles` if a line is not a user id.
    """
    group = _LiveSite(database, site).groups.get(name)
    if group is None or not group.uploaded:
        state = "is not live" if group is None else f"has a {_kind(group)}"
        raise InvalidRequest(
            f"{name} {state} at {site}: publish a group with this id and `list: uploaded` first", code="not_uploaded"
        )
    users = set(user_list.read(file))
    list_name = lists.write(database, site, users)
    with translate_errors():
        before = database.control.find_one_and_update({"_id": site}, {"$set": {f"lists.{name}.list": list_name}})
    previous = ((before or {}).get("lists") or {}).get(name) or {}
    return UploadResult(len(users), previous.get("list") != list_name)


def _kind(group: TargetGroup) -> str:
    if group.made is not None:
        return "combination"
    if group.rule is not None:
        return "rule"
    return "uploaded list" if group.uploaded else "list"


class _LiveSite:
    """The live ruleset of a site, and its current targets."""

    def __init__(self, database: Database[Document], site: str) -> None:
        self._database = database
        self._site = site
        ruleset = sites.live_ruleset(database, site)
        self._campaigns: list[Campaign] = ruleset.campaigns
        self.groups = mongodb.read_target_groups(database, site, ruleset.version)
        self.compounds: Mapping[str, Compound] = {each.id: each.made for each in self.groups.values() if each.made}
        with translate_errors():
            control = database.control.find_one({"_id": site}) or {}
        self.uploads: Mapping[str, Any] = control.get("lists") or {}
        self.generation = int(control.get("generation") or 0)

    def campaigns_of(self, group: str) -> list[str]:
        """Return the campaigns that depend on *group*, directly or through a combination."""
        return [each.id for each in self._campaigns if group in groups.expand(each.groups, self.compounds)]

    def count_users(self) -> list[tuple[list[str], int]] | None:
        """Return the number of users for each set of groups in the targets; ``None`` before the first refresh."""
        if not self.generation:
            return None
        with translate_errors():
            rows = list(
                self._targets.aggregate([{"$match": ONLY_USERS}, {"$group": {"_id": "$groups", "users": {"$sum": 1}}}])
            )
        return [(row["_id"], row["users"]) for row in rows]

    def members(self, group: str) -> tuple[int, list[str]]:
        """Return the number of users of *group* in the current targets, and a sample."""
        pipeline = [{"$match": {**ONLY_USERS, "$expr": groups.membership_expression(group, self.compounds)}}]
        with translate_errors():
            return _count_and_sample(self._targets, pipeline, {"$project": {"_id": 1}})

    @property
    def _targets(self) -> Collection[Document]:
        return self._database[targets_collection(self._site, self.generation)]


def _find_users(database: Database[Document], source: Source) -> tuple[int, list[str], QueryPlan]:
    """Return the number of users of *source*, a sample, and how MongoDB finds them."""
    pipeline = [{"$match": source.ids.between(None, None)}, *source.stages]
    with translate_errors():
        users, sample = _count_and_sample(database[source.collection], pipeline)
        explained = database.command(
            "explain",
            {"aggregate": source.collection, "pipeline": pipeline, "cursor": {}},
            verbosity="executionStats",
        )
    stats, winning_plan = _find_part(explained, "executionStats"), _find_part(explained, "winningPlan")
    index = next((part["indexName"] for part in _objects(winning_plan) if "indexName" in part), "none: reads all")
    plan = QueryPlan(index, stats["totalKeysExamined"], stats["totalDocsExamined"], int(stats["executionTimeMillis"]))
    return users, sample, plan


def _count_and_sample(
    collection: Collection[Document], pipeline: list[Document], *project: Document
) -> tuple[int, list[str]]:
    counted = list(collection.aggregate([*pipeline, {"$count": "users"}]))
    sample = list(collection.aggregate([*pipeline, {"$limit": SAMPLE_USERS}, *project]))
    return (counted[0]["users"] if counted else 0), [row["_id"] for row in sample]


def _find_part(explained: Document, name: str) -> Document:
    """Return the first part called *name*. Its position depends on the version of MongoDB."""
    return next(part[name] for part in _objects(explained) if name in part)


def _objects(value: Any) -> Iterator[Document]:
    """Yield every object in *value*, at any depth."""
    if isinstance(value, dict):
        yield value
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _objects(each)
