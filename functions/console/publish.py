"""Publish definitions: sources and compiled ruleset first, the pointer that makes them live last.

    write sources ─▶ insert rulesets[site:n+1] (immutable) ─▶ control: ruleset n → n+1, if still n

A publish that dies anywhere before the last step has changed nothing that a function reads; two at once
cannot both move the pointer from n.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from pymongo import ReplaceOne
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from console.compile import compile_ruleset
from console.definitions import Definitions
from shared import mongodb
from shared.contracts import WriteKey
from shared.errors import OpportuneError
from shared.mongodb import Document

INLINE_LIST = 1000  # longer lists of users go to a collection of their own


class PublishConflict(OpportuneError):
    """Somebody else published at the same time."""

    code = "publish_conflict"
    retryable = True
    status = 409


class Published(NamedTuple):
    """What a publish came to. ``changed``: False when the current version was already the same."""

    site: str
    version: int
    campaigns: int
    changed: bool


def publish(database: Database[Document], definitions: Definitions, keys: Sequence[WriteKey]) -> Published:
    """Make *definitions* live; raises `PublishConflict` when another publish was faster."""
    site = definitions.site.id
    current = mongodb.pointers(database).get(site, mongodb.Pointer(0, 0))
    ruleset = compile_ruleset(definitions, version=_newest(database, site, current.ruleset) + 1, keys=list(keys))
    _write_sources(database, definitions)
    if current.ruleset:
        live = mongodb.ruleset(database, site, current.ruleset)
        if msgspec.structs.replace(ruleset, version=live.version) == live:
            return Published(site, live.version, len(live.campaigns), changed=False)
    row = {"_id": f"{site}:{ruleset.version}", "site": site, "ruleset": msgspec.to_builtins(ruleset)}
    with mongodb.guarded():
        try:
            database.rulesets.insert_one(row)
            moved = database.control.update_one(
                {"_id": site, "ruleset": current.ruleset} if current.ruleset else {"_id": site, "ruleset": None},
                {"$set": {"ruleset": ruleset.version}, "$setOnInsert": {"generation": 0}},
                upsert=not current.ruleset,
            )
        except DuplicateKeyError as error:
            raise PublishConflict(f"{site} was published by somebody else just now; try again") from error
    if not moved.matched_count and moved.upserted_id is None:
        raise PublishConflict(f"{site} was published by somebody else just now; try again")
    return Published(site, ruleset.version, len(ruleset.campaigns), changed=True)


def _newest(database: Database[Document], site: str, current: int) -> int:
    """Return the highest version ever written: one that a dead publish has left is never used again."""
    with mongodb.guarded():
        row = database.rulesets.find_one({"site": site}, {"ruleset.version": 1}, sort=[("ruleset.version", -1)])
    return max(current, row["ruleset"]["version"] if row else 0)


def _write_sources(database: Database[Document], definitions: Definitions) -> None:
    site = definitions.site.id
    with mongodb.guarded():
        database.sites.replace_one(
            {"_id": site},
            {
                "_id": site,
                **definitions.site.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"id", "keys"}),
            },
            upsert=True,
        )
        for campaign in definitions.campaigns:
            source = campaign.model_dump(mode="json", by_alias=True, exclude_none=True)
            database.campaigns.replace_one(
                {"_id": f"{site}:{campaign.id}"},
                {"site": site, "campaign": campaign.id, "source": source},
                upsert=True,
            )
        for group in definitions.groups:
            users = list(group.list or ())
            row: Document = {"site": site, "group": group.id, "rule": group.rule, "list": None}
            if group.list is not None and len(users) <= INLINE_LIST:
                row["list"] = users
            elif users:
                database.list_members.delete_many({"_id.site": site, "_id.group": group.id})
                database.list_members.bulk_write(
                    [ReplaceOne({"_id": m}, {}, upsert=True) for m in _members(site, group.id, users)]
                )
            database.target_groups.replace_one({"_id": f"{site}:{group.id}"}, row, upsert=True)


def _members(site: str, group: str, users: Sequence[str]) -> list[Document]:
    return [{"site": site, "group": group, "user": user} for user in users]
