"""Target groups, looked at: who is in them now, how MongoDB finds them, and lists that are uploaded."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
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

SAMPLE = 5


class Line(NamedTuple):
    """A target group in the list of all. ``users``: in the generation of targets in use; ``None``: there is none."""

    group: str
    kind: str
    users: int | None
    campaigns: list[str]


class QueryPlan(NamedTuple):
    """How MongoDB found a group's users: `by` which index, what it looked at, and how long (ms) that took."""

    by: str
    keys: int
    documents: int
    ms: int


class Explained(NamedTuple):
    """Who is in a group. ``generation``: of the targets that this was read from; 0: looked for just now.

    ``plan``: of what was looked for; ``made``: what the group is made of.
    """

    group: str
    kind: str
    users: int
    sample: list[str]
    campaigns: list[str]
    generation: int
    plan: QueryPlan | None = None
    made: dict[str, Any] | None = None


class Uploaded(NamedTuple):
    """A list that a group has now. ``changed``: whether it had another one before."""

    users: int
    changed: bool


def listed(database: Database[Document], site: str) -> list[Line]:
    """Return all target groups of what is live at *site*, with their users as the targets in use know them."""
    site_of = _Site(database, site)
    counts = site_of.counts()
    return [
        Line(
            group.id,
            _kind(group),
            None if counts is None else sum(n for found, n in counts if groups.belongs(group.id, found, compounds)),
            site_of.campaigns_of(group.id),
        )
        for compounds in (site_of.compounds,)
        for group in site_of.groups.values()
    ]


def explain(database: Database[Document], site: str, name: str, clock: Clock) -> Explained:
    """Return who is in the group *name*: looked for as a refresh does; of a group made of others, from the targets.

    Raises `InvalidRequest` for a group that is not defined, or cannot be told yet.
    """
    site_of = _Site(database, site)
    group = site_of.groups.get(name)
    if group is None:
        known = ", ".join(site_of.groups) or "none"
        raise InvalidRequest(f"no target group {name!r} is live at {site}; known: {known}", code="unknown_group")
    campaigns = site_of.campaigns_of(name)
    if group.made is not None:
        if not site_of.generation:
            raise InvalidRequest(
                f"{name} is made of other groups, and their users were never looked for: "
                f"opportune targets refresh --site {site}",
                code="no_targets",
            )
        users, sample = site_of.members(name)
        made: dict[str, Any] = msgspec.to_builtins(group.made)
        return Explained(name, _kind(group), users, sample, campaigns, site_of.generation, made=made)
    as_is = compute_fingerprint(group, site_of.uploads)
    sources = list(parts.find_sources(site, Plan(0, clock(), find={name: as_is}), site_of.groups))
    if not sources:  # uploaded, and nothing was
        return Explained(name, _kind(group), 0, [], campaigns, 0)
    (source,) = sources
    users, sample, plan = _found(database, source)
    return Explained(name, _kind(group), users, sample, campaigns, 0, plan=plan)


def upload(database: Database[Document], site: str, name: str, file: Path) -> Uploaded:
    """Give the group *name* the users in *file*, one id a line, in place of those that it had.

    The list is written whole before the group points to it. Raises `InvalidRequest` where the group is not defined
    with ``list: uploaded``, and `InvalidFiles` where a line is no user id.
    """
    group = _Site(database, site).groups.get(name)
    if group is None or not group.uploaded:
        what = "is not live" if group is None else f"has a {_kind(group)}"
        raise InvalidRequest(
            f"{name} {what} at {site}: publish a group of that id with `list: uploaded` first", code="not_uploaded"
        )
    users = set(user_list.read(file))
    written = lists.write(database, site, users)
    with translate_errors():
        before = database.control.find_one_and_update({"_id": site}, {"$set": {f"lists.{name}.list": written}})
    had = ((before or {}).get("lists") or {}).get(name) or {}
    return Uploaded(len(users), had.get("list") != written)


def _kind(group: TargetGroup) -> str:
    if group.made is not None:
        return "combination"
    if group.rule is not None:
        return "rule"
    return "uploaded list" if group.uploaded else "list"


class _Site:
    """What is live at a site, and its targets."""

    def __init__(self, database: Database[Document], site: str) -> None:
        self._database = database
        self.site = site
        ruleset = sites.live_ruleset(database, site)
        self._campaigns: list[Campaign] = ruleset.campaigns
        self.groups = mongodb.read_target_groups(database, site, ruleset.version)
        self.compounds: Mapping[str, Compound] = {each.id: each.made for each in self.groups.values() if each.made}
        with translate_errors():
            control = database.control.find_one({"_id": site}) or {}
        self.uploads: Mapping[str, Any] = control.get("lists") or {}
        self.generation = int(control.get("generation") or 0)

    def campaigns_of(self, group: str) -> list[str]:
        """Return the campaigns for which it matters who is in *group*."""
        return [each.id for each in self._campaigns if group in groups.expand(each.groups, self.compounds)]

    def counts(self) -> list[tuple[list[str], int]] | None:
        """Return how many users were found in which groups together; ``None`` where nothing was looked for yet."""
        if not self.generation:
            return None
        with translate_errors():
            rows = list(self._targets.aggregate([{"$group": {"_id": "$groups", "users": {"$sum": 1}}}]))
        return [(row["_id"], row["users"]) for row in rows]

    def members(self, group: str) -> tuple[int, list[str]]:
        """Return how many users of the targets belong to *group*, and some of them."""
        belongs = {"$match": {"$expr": groups.membership_expression(group, self.compounds)}}
        with translate_errors():
            counted = list(self._targets.aggregate([belongs, {"$count": "users"}]))
            some = list(self._targets.aggregate([belongs, {"$limit": SAMPLE}, {"$project": {"_id": 1}}]))
        return (counted[0]["users"] if counted else 0), [row["_id"] for row in some]

    @property
    def _targets(self) -> Any:
        return self._database[targets_collection(self.site, self.generation)]


def _found(database: Database[Document], source: Source) -> tuple[int, list[str], QueryPlan]:
    """Return how many users *source* has, some of them, and how MongoDB comes to them."""
    pipeline = [{"$match": source.ids.between(None, None)}, *source.stages]
    with translate_errors():
        counted = list(database[source.collection].aggregate([*pipeline, {"$count": "users"}]))
        some = list(database[source.collection].aggregate([*pipeline, {"$limit": SAMPLE}]))
        told = database.command(
            "explain",
            {"aggregate": source.collection, "pipeline": pipeline, "cursor": {}},
            verbosity="executionStats",
        )
    stats, winning = _stage(told, "executionStats"), _stage(told, "winningPlan")
    index = next((each["indexName"] for each in _nested(winning) if "indexName" in each), "none: all are read")
    plan = QueryPlan(index, stats["totalKeysExamined"], stats["totalDocsExamined"], int(stats["executionTimeMillis"]))
    return (counted[0]["users"] if counted else 0), [row["_id"] for row in some], plan


def _stage(told: Document, name: str) -> Document:
    """Return the first part called *name* of an explanation: where it stands depends on the server's version."""
    return next(each[name] for each in _nested(told) if name in each)


def _nested(value: Any) -> Iterator[Document]:
    if isinstance(value, dict):
        yield value
    inner: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _nested(each)
