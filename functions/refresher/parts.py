"""Write a generation in parts. Each part is one range of user ids, which MongoDB finds, groups and writes alone.

    customers             [rule] ─┐
    customers             [rule] ─┤
    list_members          [list] ─┼─▶ group by user ─▶ targets_<site>_<n>
    targets_<site>_<before>      ─┘

This needs one insert per user, instead of one update per user and group, and sorts nothing larger than a part.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bson import MaxKey
from pymongo.database import Database

from refresher.plan import Plan, extract_list
from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.mongodb import Document, targets_collection
from shared.ruleset import TargetGroup

PART_SIZE = 50_000  # users
MAX_PART_MS = 120_000


class Ids(NamedTuple):
    """How a collection builds its ``_id`` from a user id.

    prefix: text before the user id.
    fields: if set, the ``_id`` is an object of these fields and ``user``.
    """

    prefix: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def build(self, user: Any) -> Any:
        """Return the ``_id`` of *user*."""
        return {**dict(self.fields), "user": user} if self.fields else self.prefix + user

    def extract_user(self, key: Any) -> str:
        """Return the user id in an ``_id``."""
        return str(key["user"] if self.fields else key[len(self.prefix) :])

    def between(self, after: str | None, last: str | None) -> Document:
        """Return the filter for the users after *after*, up to *last*; ``None`` means no limit."""
        ids = {"$gte": self.build("")} if after is None else {"$gt": self.build(after)}
        if last is not None:
            ids["$lte"] = self.build(last)
        elif self.fields:
            ids["$lt"] = self.build(MaxKey())
        elif self.prefix:  # it ends with a colon, and the next character is the semicolon
            ids["$lt"] = self.prefix[:-1] + ";"
        return {"_id": ids}


class Source(NamedTuple):
    """A collection that users come from. ``stages``: follow the range filter and leave ``_id`` (user) and ``group``."""

    collection: str
    ids: Ids
    stages: list[Document]


def find_sources(site: str, plan: Plan, groups: Mapping[str, TargetGroup]) -> Iterator[Source]:
    """Yield the sources of the users of *plan*; raise `InvalidDefinition` for an invalid rule."""
    for name, fingerprint in plan.find.items():
        rule = groups[name].rule
        if rule is not None:
            condition = parse_condition(rule, field=f"{name}.rule")
            matching = compile_filter(condition, prefix="attributes.", now_ms=plan.now)
            fields = {"_id": "$user", "group": {"$literal": name}}
            yield Source("customers", Ids(f"{site}:"), [{"$match": matching}, {"$project": fields}])
        elif list_name := extract_list(fingerprint):
            fields = {"_id": "$_id.user", "group": {"$literal": name}}
            yield Source("list_members", Ids(fields=(("site", site), ("list", list_name))), [{"$project": fields}])
    if plan.keep:
        kept = {"$match": {"groups": {"$in": list(plan.keep)}}}
        stages: list[Document] = [kept, {"$unwind": "$groups"}, kept, {"$project": {"group": "$groups"}}]
        yield Source(targets_collection(site, plan.source), Ids(), stages)


def count_users(database: Database[Document], sources: Sequence[Source]) -> int:
    """Return the approximate number of users: those of the largest source."""
    counts = (database[name].count_documents(ids.between(None, None)) for name, ids in _select_ranges(sources))
    return max(counts, default=0)


def find_end(database: Database[Document], sources: Sequence[Source], after: str | None, size: int) -> str | None:
    """Return the last user of the part after *after*, with at most *size* users of each source.

    ``None``: it is the last part. This reads only the index of ``_id``.
    """
    ends = [
        ids.extract_user(row["_id"])
        for name, ids in _select_ranges(sources)
        for row in database[name]
        .find(ids.between(after, None), {"_id": 1})
        .sort("_id", 1)
        .skip(size - 1)
        .limit(1)
        .max_time_ms(MAX_PART_MS)
    ]
    return min(ends, key=str.encode, default=None)


def write_part(
    database: Database[Document], sources: Sequence[Source], into: str, *, after: str | None, last: str | None
) -> None:
    """Insert the users of *sources* after *after*, up to *last*, into the collection *into*."""
    (name, stages), *others = [
        (source.collection, [{"$match": source.ids.between(after, last)}, *source.stages]) for source in sources
    ]
    pipeline = [
        *stages,
        *({"$unionWith": {"coll": other, "pipeline": its_stages}} for other, its_stages in others),
        {"$group": {"_id": "$_id", "groups": {"$push": "$group"}}},
        {"$merge": {"into": into, "whenMatched": "fail", "whenNotMatched": "insert"}},
    ]
    database[name].aggregate(pipeline, allowDiskUse=True, maxTimeMS=MAX_PART_MS)


def _select_ranges(sources: Sequence[Source]) -> set[tuple[str, Ids]]:
    return {(source.collection, source.ids) for source in sources}
