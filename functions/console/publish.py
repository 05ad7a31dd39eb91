"""Publish definitions: all of them become one version, and live together or not at all.

Lists of users first, then the version, then the pointer that the functions follow: see `console.lists` and
`console.versions`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from pymongo.database import Database

from console import lists, versions
from console.compile import compile_ruleset
from console.definitions import Definitions, TargetGroup
from console.versions import Content, PublishConflict
from shared import ruleset as compiled
from shared.contracts import WriteKey
from shared.mongodb import Document

__all__ = ["PublishConflict", "Published", "content", "publish", "retargeted", "roll_back"]


class Published(NamedTuple):
    """What a publish came to. ``changed``: False when the current version was already the same.

    ``retargeted``: ids of campaigns whose targets have to be made anew: those for target groups that are new, or
    whose groups are, or are other ones. ``of``: the older version whose content came back, 0 for none.
    """

    site: str
    version: int
    campaigns: int
    changed: bool
    retargeted: tuple[str, ...] = ()
    of: int = 0


def publish(database: Database[Document], definitions: Definitions, keys: Sequence[WriteKey]) -> Published:
    """Make *definitions* live; raises `PublishConflict` when another publish was faster."""
    site = definitions.site.id
    seen = versions.live(database, site)
    now = versions.read(database, site, seen) if seen else None
    then = content(definitions, keys)
    campaigns = len(then.ruleset.campaigns)
    if now is not None and then.is_same(now):
        return Published(site, seen, campaigns, changed=False)
    for group in definitions.groups:
        if group.list is not None:
            lists.write(database, site, group.list)
    version = versions.make_live(database, then, seen=seen)
    return Published(site, version, campaigns, changed=True, retargeted=retargeted(now, then))


def roll_back(database: Database[Document], site: str, version: int | None = None) -> Published:
    """Bring the content of *version* back, as a new version; default: what was live before.

    Write keys stay as they are now: one that was revoked must not come back with an old campaign.
    """
    seen, version = versions.older(database, site, version)
    now, then = versions.read(database, site, seen), versions.read(database, site, version)
    keys = now.source["site"]["keys"]
    then = then._replace(
        ruleset=msgspec.structs.replace(then.ruleset, keys=now.ruleset.keys),
        source={**then.source, "site": {**then.source["site"], "keys": keys}},
    )
    campaigns = len(then.ruleset.campaigns)
    if then.is_same(now):
        return Published(site, seen, campaigns, changed=False, of=version)
    made = versions.make_live(database, then, seen=seen, of=version)
    return Published(site, made, campaigns, changed=True, retargeted=retargeted(now, then), of=version)


def content(definitions: Definitions, keys: Sequence[WriteKey]) -> Content:
    """Return *definitions* as a version holds them; nothing is written. A list is there by its name."""
    groups = {group.id: _group(group) for group in definitions.groups}
    written = definitions.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"groups": {"__all__": {"list"}}}
    )
    for group in written["groups"]:
        if groups[group["id"]].list is not None:
            group["list"] = groups[group["id"]].list
    ruleset = compile_ruleset(definitions, version=0, keys=list(keys))
    return Content(ruleset, sorted(groups.values(), key=lambda group: group.id), written)


def retargeted(now: Content | None, then: Content) -> tuple[str, ...]:
    """Return the ids of the campaigns of *then* whose targets are not those that they had in *now*."""
    before = _audiences(now) if now else {}
    after = _audiences(then)
    return tuple(campaign for campaign, audience in after.items() if audience and before.get(campaign) != audience)


def _audiences(content: Content) -> Mapping[str, dict[str, compiled.TargetGroup | None]]:
    groups = {group.id: group for group in content.groups}
    return {
        campaign.id: {} if campaign.everyone else {name: groups.get(name) for name in campaign.groups}
        for campaign in content.ruleset.campaigns
    }


def _group(group: TargetGroup) -> compiled.TargetGroup:
    named = None if group.list is None else lists.name(group.list)
    return compiled.TargetGroup(id=group.id, rule=group.rule, list=named)
