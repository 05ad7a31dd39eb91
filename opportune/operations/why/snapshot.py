"""Read the present state of one user from the Decider and MongoDB."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from pydantic import ValidationError
from pymongo import DESCENDING
from pymongo.database import Database

from decider.user_admin import UserSnapshot
from definitions.compiler.trigger import compile_trigger
from definitions.model.campaign import Campaign as CampaignFile
from opportune.operations import deliveries
from opportune.system.functions import ask
from refresher.plan import compute_fingerprint, extract_list
from shared import groups, mongodb
from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.contracts import InspectUser
from shared.errors import InvalidDefinition
from shared.invoke import Invoke
from shared.mongodb import Document, translate_errors
from shared.ruleset import Campaign, Ruleset, TargetGroup

DECISIONS_READ = 500


class Snapshot(NamedTuple):
    """The state of one user at ``now`` (ms).

    ``live``: the published ruleset version. The Decider may not use it yet.
    ``state``: the user's row, as the Decider returns it.
    ``customer``: attributes; ``None`` if the user is not a customer.
    ``files``: the written form of each campaign whose trigger is the one that runs.
    ``groups``: whether the user belongs to each group; ``None`` if the group is not defined.
    ``decisions``: the newest rows of the ledger first.
    """

    site: str
    user: str
    now: int
    ruleset: Ruleset
    live: int
    state: UserSnapshot
    customer: dict[str, Any] | None
    files: dict[str, CampaignFile]
    groups: dict[str, bool | None]
    paused: list[str]
    opted_out: list[str]
    decisions: list[deliveries.Delivery]


def read_snapshot(database: Database[Document], decider: Invoke, site: str, user: str, now: int) -> Snapshot:
    """Return the state of *user* at *now* (ms). Raises `Unavailable` if a part of the system does not answer."""
    state = msgspec.convert(ask(decider, InspectUser(site, user)), UserSnapshot)
    ruleset = mongodb.read_ruleset(database, site, state.ruleset)
    name = f"{site}:{user}"
    with translate_errors():
        deliveries.index(database)
        control = database.control.find_one({"_id": site}) or {}
        customer = database.customers.find_one({"_id": name}, {"attributes": 1})
        optouts = database.optouts.find_one({"_id": name}, {"channels": 1}) or {}
        rows = database.activations.find(
            {"site": site, "user": user}, sort=[("at", DESCENDING)], limit=DECISIONS_READ
        ).to_list()
        source = database.definitions.find_one({"_id": f"{site}:{ruleset.version}"}, {"campaigns": 1}) or {}
        defined = mongodb.read_target_groups(database, site, ruleset.version)
        named = sorted({group for campaign in ruleset.campaigns for group in campaign.groups})
        uploads = control.get("lists") or {}
        members = memberships(database, site, user, named, defined, uploads=uploads, now=now)
    return Snapshot(
        site=site,
        user=user,
        now=now,
        ruleset=ruleset,
        live=control.get("ruleset", 0),
        state=state,
        customer=None if customer is None else dict(customer.get("attributes") or {}),
        files=_as_written(ruleset.campaigns, {each["id"]: each for each in source.get("campaigns", ())}),
        groups=members,
        paused=list(control.get("paused") or []),
        opted_out=sorted(optouts.get("channels") or {}),
        decisions=[deliveries.delivery(row, now) for row in rows],
    )


def memberships(
    database: Database[Document],
    site: str,
    user: str,
    names: Iterable[str],
    defined: Mapping[str, TargetGroup],
    *,
    uploads: Mapping[str, Any],
    now: int,
) -> dict[str, bool | None]:
    """Return whether a refresh at *now* (ms) would put *user* into each group; ``None`` if that cannot be told."""
    compounds = {group.id: group.made for group in defined.values() if group.made}
    needed = {name: groups.expand([name], compounds) for name in names}
    looked = {
        name: _is_found(database, site, user, defined[name], uploads, now)
        for name in set[str]().union(*needed.values())
        if name in defined and defined[name].is_found
    }
    found = {name for name, is_found in looked.items() if is_found}
    return {
        name: groups.belongs(name, found, compounds)
        if all(part in defined and looked.get(part, True) is not None for part in parts)
        else None
        for name, parts in needed.items()
    }


def _is_found(
    database: Database[Document], site: str, user: str, group: TargetGroup, uploads: Mapping[str, Any], now: int
) -> bool | None:
    """Return whether *user* matches the rule or is in the list of *group*; ``None`` if its rule cannot be read."""
    try:
        listed = extract_list(compute_fingerprint(group, uploads))
        condition = None if group.rule is None else parse_condition(group.rule, field=f"{group.id}.rule")
    except InvalidDefinition:
        return None
    if condition is None:
        member = {"site": site, "list": listed, "user": user}
        return database.list_members.find_one({"_id": member}) is not None
    matching = compile_filter(condition, prefix="attributes.", now_ms=now)
    return database.customers.find_one({"$and": [{"_id": f"{site}:{user}"}, matching]}, {"_id": 1}) is not None


def _as_written(campaigns: Iterable[Campaign], sources: dict[str, Any]) -> dict[str, CampaignFile]:
    """Return the written campaigns whose trigger compiles to the one that runs."""
    written = {}
    for campaign in campaigns:
        try:
            source = CampaignFile.model_validate(sources.get(campaign.id))
        except ValidationError:
            continue
        if compile_trigger(source.trigger, campaign=campaign.id).key == campaign.trigger.key:
            written[campaign.id] = source
    return written
