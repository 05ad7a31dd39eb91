"""Publish definitions: all of them become one version and go live together, or not at all.

lists of users ─▶ the version ─▶ the pointer that the functions follow ─▶ declared attribute types
"""

from typing import NamedTuple

import msgspec
from pymongo.database import Database

from definitions.compiler.ruleset import Bundle
from definitions.publishing import declared_types, lists, versions
from definitions.publishing.changes import Change, changes
from shared.mongodb import Document

KEY_FIELDS = ("keys", "identity")  # the fields of a site that a rollback keeps


class Published(NamedTuple):
    """The result of a publish or a rollback.

    ``version``: the version that is live now.
    ``campaigns``: how many campaigns it has.
    ``changed``: ``False`` if the live version was already the same.
    ``of``: after a rollback, the older version whose content is live again; else 0.
    ``changes``: the differences from the version that was live before.
    """

    site: str
    version: int
    campaigns: int
    changed: bool
    of: int = 0
    changes: tuple[Change, ...] = ()


def publish(database: Database[Document], bundle: Bundle) -> Published:
    """Make *bundle* live; raises `PublishConflict` if another publish was faster."""
    site = bundle.ruleset.site
    seen = versions.live(database, site)
    live = versions.read(database, site, seen) if seen else None
    campaigns = len(bundle.ruleset.campaigns)
    if live is not None and bundle.is_same(live):
        declared_types.declare(database, site, live.source)
        return Published(site, seen, campaigns, changed=False)
    for users in bundle.lists:
        lists.write(database, site, users)
    version = versions.make_live(database, bundle, seen=seen)
    declared_types.declare(database, site, bundle.source)
    return Published(site, version, campaigns, changed=True, changes=changes(live, bundle))


def roll_back(database: Database[Document], site: str, version: int | None = None) -> Published:
    """Make the content of *version* live again, as a new version; default: the version that was live before.

    Write keys and identity keys stay as they are, so that a revoked key does not come back with an old campaign.
    Raises `UnknownVersion`, and `PublishConflict` if another publish was faster.
    """
    seen, version = versions.older(database, site, version)
    live, old = versions.read(database, site, seen), versions.read(database, site, version)
    kept = {name: value for name, value in live.source["site"].items() if name in KEY_FIELDS}
    restored = {name: value for name, value in old.source["site"].items() if name not in KEY_FIELDS}
    bundle = old._replace(
        ruleset=msgspec.structs.replace(old.ruleset, keys=live.ruleset.keys, identity=live.ruleset.identity),
        source={**old.source, "site": restored | kept},
    )
    campaigns = len(bundle.ruleset.campaigns)
    if bundle.is_same(live):
        return Published(site, seen, campaigns, changed=False, of=version)
    made = versions.make_live(database, bundle, seen=seen, of=version)
    declared_types.declare(database, site, bundle.source)
    return Published(site, made, campaigns, changed=True, of=version, changes=changes(live, bundle))
