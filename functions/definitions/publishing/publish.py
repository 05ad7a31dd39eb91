"""Publish definitions: all of them become one version, and live together or not at all.

It writes lists of users first, then the version, then the pointer that the functions follow: see
`definitions.publishing.lists` and `definitions.publishing.versions`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from pymongo.database import Database

from definitions.compiler.groups import target_group
from definitions.compiler.ruleset import compile_ruleset
from definitions.model.definitions import Definitions
from definitions.model.fields import Definition
from definitions.model.group import UPLOADED
from definitions.publishing import lists, types, versions
from definitions.publishing.changes import Change, changes
from definitions.publishing.versions import Content, PublishConflict
from shared.contracts import WriteKey
from shared.mongodb import Document

__all__ = ["PublishConflict", "Published", "content", "publish", "roll_back"]


KEYS_OF_SITE = ("keys", "identity")


class Published(NamedTuple):
    """What a publish came to. ``changed``: False when the current version was already the same.

    ``of``: the older version whose content came back, 0 for none. ``changes``: of what was live before.
    """

    site: str
    version: int
    campaigns: int
    changed: bool
    of: int = 0
    changes: tuple[Change, ...] = ()


def publish(database: Database[Document], definitions: Definitions, keys: Sequence[WriteKey]) -> Published:
    """Make *definitions* live; raises `PublishConflict` when another publish was faster."""
    site = definitions.site.id
    seen = versions.live(database, site)
    now = versions.read(database, site, seen) if seen else None
    then = content(definitions, keys)
    campaigns = len(then.ruleset.campaigns)
    if now is not None and then.is_same(now):
        types.declare(database, site, now.source)
        return Published(site, seen, campaigns, changed=False)
    for group in definitions.groups:
        if group.list:
            lists.write(database, site, group.list)
    version = versions.make_live(database, then, seen=seen)
    types.declare(database, site, then.source)
    return Published(site, version, campaigns, changed=True, changes=changes(now, then))


def roll_back(database: Database[Document], site: str, version: int | None = None) -> Published:
    """Bring the content of *version* back, as a new version; default: what was live before.

    Write keys, and the keys that prove who users are, stay as they are now: one that was revoked must not come back
    with an old campaign.
    """
    seen, version = versions.older(database, site, version)
    now, then = versions.read(database, site, seen), versions.read(database, site, version)
    kept = {name: value for name, value in now.source["site"].items() if name in KEYS_OF_SITE}
    rest = {name: value for name, value in then.source["site"].items() if name not in KEYS_OF_SITE}
    then = then._replace(
        ruleset=msgspec.structs.replace(then.ruleset, keys=now.ruleset.keys, identity=now.ruleset.identity),
        source={**then.source, "site": rest | kept},
    )
    campaigns = len(then.ruleset.campaigns)
    if then.is_same(now):
        return Published(site, seen, campaigns, changed=False, of=version)
    made = versions.make_live(database, then, seen=seen, of=version)
    types.declare(database, site, then.source)
    return Published(site, made, campaigns, changed=True, of=version, changes=changes(now, then))


def content(definitions: Definitions, keys: Sequence[WriteKey]) -> Content:
    """Return *definitions* as a version holds them; nothing is written. A list is there by its name."""
    groups = {group.id: target_group(group) for group in definitions.groups}
    written: dict[str, Any] = {
        "site": _written(definitions.site),
        "events": [_written(event) for event in definitions.events],
        "groups": [_written(group, exclude={"list"}) for group in definitions.groups],
        "campaigns": [_written(campaign) for campaign in definitions.campaigns],
    }
    for group in written["groups"]:
        found = groups[group["id"]]
        if found.list is not None or found.uploaded:
            group["list"] = found.list or UPLOADED
    ruleset = compile_ruleset(definitions, version=0, keys=list(keys))
    return Content(ruleset, sorted(groups.values(), key=lambda group: group.id), written)


def _written(definition: Definition, exclude: set[str] | None = None) -> dict[str, Any]:
    return definition.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=exclude)
