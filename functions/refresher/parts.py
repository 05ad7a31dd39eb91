"""A generation is made in parts, each one range of user ids: found, put together and written by MongoDB alone.

    customers             [rule] ─┐
    customers             [rule] ─┤
    list_members          [list] ─┼─▶ group by user ─▶ targets_<site>_<n>
    targets_<site>_<before>      ─┘

One insert a user instead of one update a user and group; and nothing is sorted that is larger than a part.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bson import MaxKey
from pymongo.database import Database

from refresher.plan import Plan, list_of
from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.mongodb import Document, targets_collection
from shared.ruleset import TargetGroup

PART = 50_000  # users
LONGEST_PART_MS = 120_000


class Ids(NamedTuple):
    """How the ``_id`` of a row is made of a user's: ``prefix`` and the user, or the user as one field ``beside``."""

    prefix: str = ""
    beside: tuple[tuple[str, str], ...] = ()

    def of(self, user: Any) -> Any:
        """Return the ``_id`` of *user*."""
        return {**dict(self.beside), "user": user} if self.beside else self.prefix + user

    def user(self, key: Any) -> str:
        """Return the user of an ``_id``."""
        return str(key["user"] if self.beside else key[len(self.prefix) :])

    def between(self, after: str | None, last: str | None) -> Document:
        """Return the filter of the users behind *after*, up to *last*; ``None`` is the beginning, or the end."""
        ids = {"$gte": self.of("")} if after is None else {"$gt": self.of(after)}
        if last is not None:
            ids["$lte"] = self.of(last)
        elif self.beside:
            ids["$lt"] = self.of(MaxKey())
        elif self.prefix:  # ends in a colon, and a semicolon is what follows one
            ids["$lt"] = self.prefix[:-1] + ";"
        return {"_id": ids}


class Source(NamedTuple):
    """Where users come from. ``stages``: what follows the range, and leaves the user as ``_id`` and ``group``."""

    collection: str
    ids: Ids
    stages: list[Document]


def sources(site: str, plan: Plan, groups: Mapping[str, TargetGroup]) -> Iterator[Source]:
    """Yield where the users of *plan* come from; raises `InvalidDefinition` for a rule that cannot be read."""
    for name, mark in plan.find.items():
        rule = groups[name].rule
        if rule is not None:
            condition = parse_condition(rule, field=f"{name}.rule")
            matching = compile_filter(condition, prefix="attributes.", now_ms=plan.now)
            named = {"_id": "$user", "group": {"$literal": name}}
            yield Source("customers", Ids(f"{site}:"), [{"$match": matching}, {"$project": named}])
        elif written := list_of(mark):
            named = {"_id": "$_id.user", "group": {"$literal": name}}
            yield Source("list_members", Ids(beside=(("site", site), ("list", written))), [{"$project": named}])
    if plan.keep:
        kept = {"$match": {"groups": {"$in": list(plan.keep)}}}
        stages: list[Document] = [kept, {"$unwind": "$groups"}, kept, {"$project": {"group": "$groups"}}]
        yield Source(targets_collection(site, plan.source), Ids(), stages)


def size(database: Database[Document], found: Sequence[Source]) -> int:
    """Return about how many users there are to be passed: those of the largest of the sources."""
    return max((database[name].count_documents(ids.between(None, None)) for name, ids in _ranges(found)), default=0)


def end(database: Database[Document], found: Sequence[Source], after: str | None, size: int) -> str | None:
    """Return the last user of the part behind *after*, which has no more than *size* of any of the sources.

    ``None``: it is the last part. All that is read is the index of ``_id``.
    """
    ends = [
        ids.user(row["_id"])
        for name, ids in _ranges(found)
        for row in database[name]
        .find(ids.between(after, None), {"_id": 1})
        .sort("_id", 1)
        .skip(size - 1)
        .limit(1)
        .max_time_ms(LONGEST_PART_MS)
    ]
    return min(ends, key=str.encode, default=None)


def fill(
    database: Database[Document], found: Sequence[Source], into: str, *, after: str | None, last: str | None
) -> None:
    """Write the users of *found* behind *after*, up to *last*, to the collection *into*, which has none of them."""
    (name, stages), *others = [
        (source.collection, [{"$match": source.ids.between(after, last)}, *source.stages]) for source in found
    ]
    pipeline = [
        *stages,
        *({"$unionWith": {"coll": other, "pipeline": its_stages}} for other, its_stages in others),
        {"$group": {"_id": "$_id", "groups": {"$push": "$group"}}},
        {"$merge": {"into": into, "whenMatched": "fail", "whenNotMatched": "insert"}},
    ]
    database[name].aggregate(pipeline, allowDiskUse=True, maxTimeMS=LONGEST_PART_MS)


def _ranges(found: Sequence[Source]) -> set[tuple[str, Ids]]:
    return {(source.collection, source.ids) for source in found}
