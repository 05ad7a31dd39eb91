"""Store versions of a site's definitions. A version is complete before a pointer makes it live.

    rulesets[site:n]      what the functions read: the compiled campaigns and target groups
    definitions[site:n]   the definitions as they were written, for people
    control[site]         ``ruleset``: the live version; ``history``: the versions that were live, and since when

A version never changes. One update moves the pointer and extends the history, and only if the pointer still has the
version that the caller has seen. A process that dies before it changes nothing that a reader sees, and of two
concurrent publishes one is refused:

    A sees n                                      A sees n
    B sees n                                      A writes n+1
    A writes n+1                                  B sees n
    B writes n+1: exists already, refused         B writes n+2
    A moves n → n+1                               A moves n → n+1
                                                  B moves n → n+2: the pointer is no longer n, refused
"""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from pymongo import DESCENDING
from pymongo.database import Database
from pymongo.errors import DocumentTooLarge, DuplicateKeyError

from definitions.compiler.ruleset import Bundle
from shared import mongodb
from shared.errors import InvalidDefinition, InvalidRequest, OpportuneError
from shared.mongodb import Document

MAX_HISTORY = 200


class PublishConflict(OpportuneError):
    """Another publish was faster."""

    code = "publish_conflict"
    retryable = True
    status = 409


class UnknownVersion(OpportuneError):
    """A version that was never live, or whose content is gone."""

    code = "unknown_version"
    status = 404


class Version(NamedTuple):
    """An entry of the history.

    ``at``: since when it was live.
    ``campaigns``: how many campaigns it has.
    ``of``: the older version that it restored, or 0.
    """

    version: int
    at: datetime
    campaigns: int
    of: int = 0


def live(database: Database[Document], site: str) -> int:
    """Return the live version, or 0 if nothing was ever published."""
    return mongodb.read_pointers(database).get(site, mongodb.Pointer(0, 0)).ruleset


def read(database: Database[Document], site: str, version: int) -> Bundle:
    """Return the content of a version; raises `UnknownVersion`."""
    with mongodb.translate_errors():
        source = database.definitions.find_one({"_id": f"{site}:{version}"}, {"_id": 0, "site_id": 0})
    if source is None:
        raise UnknownVersion(f"{site} has no version {version}")
    ruleset = mongodb.read_ruleset(database, site, version)
    return Bundle(ruleset, list(mongodb.read_target_groups(database, site, version).values()), source)


def history(database: Database[Document], site: str) -> list[Version]:
    """Return the versions that were live, newest first; raises `InvalidRequest` for an unknown site."""
    with mongodb.translate_errors():
        control = database.control.find_one({"_id": site}, {"history": 1})
    if control is None:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")
    return [Version(**entry) for entry in reversed(control.get("history", ()))]


def make_live(database: Database[Document], bundle: Bundle, *, seen: int, of: int = 0) -> int:
    """Write *bundle* as a new version and make it live in place of *seen*; return its number.

    Raises `PublishConflict` if *seen* is no longer live. After `Unavailable`, look at `history`: the new version may
    be live.
    """
    site = bundle.ruleset.site
    ruleset = msgspec.structs.replace(bundle.ruleset, version=_newest(database, site, seen) + 1)
    version, name = ruleset.version, f"{site}:{ruleset.version}"
    entry = Version(version, datetime.now(UTC), len(ruleset.campaigns), of)._asdict()
    with mongodb.translate_errors():
        try:
            parts = {"ruleset": msgspec.to_builtins(ruleset), "groups": msgspec.to_builtins(list(bundle.groups))}
            database.rulesets.insert_one({"_id": name, "site": site, **parts})
            database.definitions.insert_one({"_id": name, "site_id": site, **bundle.source})
            moved = database.control.update_one(
                {"_id": site, "ruleset": seen or None},
                {
                    "$set": {"ruleset": version},
                    "$push": {"history": {"$each": [entry], "$slice": -MAX_HISTORY}},
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
    """Return the live version and the version to restore: *version*, or the one that was live before.

    Raises `UnknownVersion` if *version* was never live, or if there is no version before the live one.
    """
    past = [each.version for each in history(database, site)]
    if version is None and len(past) < 2:
        raise UnknownVersion(f"{site} has no version before the one that is live")
    if version is not None and version not in past:
        known = ", ".join(map(str, past[:10])) or "none"
        raise UnknownVersion(f"version {version} of {site} was never live; the latest: {known}")
    return past[0], version or past[1]


def _newest(database: Database[Document], site: str, seen: int) -> int:
    """Return the highest version ever written, so that the number of an unfinished publish is not used again."""
    with mongodb.translate_errors():
        database.rulesets.create_index([("site", 1), ("ruleset.version", DESCENDING)])
        row = database.rulesets.find_one({"site": site}, {"ruleset.version": 1}, sort=[("ruleset.version", -1)])
    return max(seen, row["ruleset"]["version"] if row else 0)


def _conflict(site: str) -> PublishConflict:
    return PublishConflict(f"another publish of {site} was faster; publish again")
