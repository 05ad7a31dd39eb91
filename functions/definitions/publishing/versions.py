"""Versions of a site's definitions: everything of one under its number, written before a pointer makes it live.

    rulesets[site:n]      what the functions read: the compiled campaigns, and the target groups beside them
    definitions[site:n]   the same as it was written, for people
    control[site]         ``ruleset``: which n is live; ``history``: which ones were, since when

Nothing under a number ever changes. The pointer and its history move in one update, and only from the version that
the caller has seen: who dies before it has changed nothing that anybody reads, and of two at once one is refused.

    A sees n                                      A sees n
    B sees n                                      A writes n+1
    A writes n+1                                  B sees n
    B writes n+1: is taken, refused               B writes n+2
    A moves n → n+1                               A moves n → n+1
                                                  B moves n → n+2: is not n any more, refused
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from pymongo import DESCENDING
from pymongo.database import Database
from pymongo.errors import DocumentTooLarge, DuplicateKeyError

from definitions.model.identical import identical
from shared import mongodb
from shared.errors import InvalidDefinition, InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.ruleset import Ruleset, TargetGroup

KEPT = 200  # entries of the history


class PublishConflict(OpportuneError):
    """Somebody else published at the same time."""

    code = "publish_conflict"
    retryable = True
    status = 409


class UnknownVersion(OpportuneError):
    """A version that was never live, or whose content is gone."""

    code = "unknown_version"
    status = 404


class Content(NamedTuple):
    """All that a version holds. ``source``: what was written; ``ruleset``: its own version does not count."""

    ruleset: Ruleset
    groups: Sequence[TargetGroup]
    source: Document

    def is_same(self, other: "Content") -> bool:
        """Return whether nothing but the number differs."""
        numbered = msgspec.structs.replace(other.ruleset, version=self.ruleset.version)
        return identical(self, other._replace(ruleset=numbered))


class Version(NamedTuple):
    """An entry of the history. ``of``: the older version whose content it brought back, 0 for none."""

    version: int
    at: datetime
    campaigns: int
    of: int = 0


def live(database: Database[Document], site: str) -> int:
    """Return the version that is live, 0 where none ever was."""
    return mongodb.pointers(database).get(site, mongodb.Pointer(0, 0)).ruleset


def read(database: Database[Document], site: str, version: int) -> Content:
    """Return the content of a version; raises `UnknownVersion`."""
    with mongodb.translate_errors():
        source = database.definitions.find_one({"_id": f"{site}:{version}"}, {"_id": 0, "site_id": 0})
    if source is None:
        raise UnknownVersion(f"{site} has no version {version}")
    ruleset = mongodb.ruleset(database, site, version)
    return Content(ruleset, list(mongodb.target_groups(database, site, version).values()), source)


def history(database: Database[Document], site: str) -> list[Version]:
    """Return the versions that were live, the newest first; raises `InvalidRequest` for an unknown site."""
    with mongodb.translate_errors():
        control = database.control.find_one({"_id": site}, {"history": 1})
    if control is None:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")
    return [Version(**entry) for entry in reversed(control.get("history", ()))]


def make_live(database: Database[Document], content: Content, *, seen: int, of: int = 0) -> int:
    """Write *content* as a new version and make it live in place of *seen*; return its number.

    Raises `PublishConflict` where *seen* is not live any more, and `Unavailable` where it is not known whether it
    worked: then `history` says.
    """
    site = content.ruleset.site
    ruleset = msgspec.structs.replace(content.ruleset, version=_newest(database, site, seen) + 1)
    version, name = ruleset.version, f"{site}:{ruleset.version}"
    entry = Version(version, datetime.now(UTC), len(ruleset.campaigns), of)._asdict()
    with mongodb.translate_errors():
        try:
            parts = {"ruleset": msgspec.to_builtins(ruleset), "groups": msgspec.to_builtins(list(content.groups))}
            database.rulesets.insert_one({"_id": name, "site": site, **parts})
            database.definitions.insert_one({"_id": name, "site_id": site, **content.source})
            moved = database.control.update_one(
                {"_id": site, "ruleset": seen or None},
                {
                    "$set": {"ruleset": version},
                    "$push": {"history": {"$each": [entry], "$slice": -KEPT}},
                    "$setOnInsert": {"generation": 0},
                },
                upsert=not seen,
            )
        except DuplicateKeyError as error:
            raise _conflict(site) from error
        except DocumentTooLarge as error:
            message = "all definitions together must not be larger than 16 MB: shorten the HTML of campaigns"
            raise InvalidDefinition(message, field="campaigns") from error
    if not moved.matched_count and moved.upserted_id is None:
        raise _conflict(site)
    return version


def older(database: Database[Document], site: str, version: int | None) -> tuple[int, int]:
    """Return the version that is live and the older one that is meant: *version*, or what was live before.

    Raises `UnknownVersion` for one that was never live.
    """
    past = [each.version for each in history(database, site)]
    if version is None and len(past) < 2:
        raise UnknownVersion(f"{site} has no version before the one that is live")
    if version is not None and version not in past:
        known = ", ".join(map(str, past[:10])) or "none"
        raise UnknownVersion(f"version {version} of {site} was never live; the latest: {known}")
    return past[0], version or past[1]


def _newest(database: Database[Document], site: str, seen: int) -> int:
    """Return the highest version ever written: one that a dead publish has left is never used again."""
    with mongodb.translate_errors():
        database.rulesets.create_index([("site", 1), ("ruleset.version", DESCENDING)])
        row = database.rulesets.find_one({"site": site}, {"ruleset.version": 1}, sort=[("ruleset.version", -1)])
    return max(seen, row["ruleset"]["version"] if row else 0)


def _conflict(site: str) -> PublishConflict:
    return PublishConflict(f"{site} was published by somebody else just now; try again")
