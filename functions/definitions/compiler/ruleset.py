"""Compile definitions: what people write becomes what the functions read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from definitions.compiler import delivery
from definitions.compiler.groups import compile_group, compounds
from definitions.compiler.trigger import compile_trigger, digest
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.fields import Definition
from definitions.model.group import UPLOADED, TargetGroup
from definitions.model.identical import identical
from definitions.model.liquid import reads, shows_local_times
from definitions.model.site import Site
from shared import ruleset as compiled
from shared.context import TIMEZONE
from shared.contracts import WriteKey


class Bundle(NamedTuple):
    """Everything that a version of a site's definitions holds.

    ``ruleset``: the compiled campaigns; its own version number does not count.
    ``groups``: the compiled target groups, sorted by id.
    ``source``: the definitions as they were written, for people; lists of users by their names.
    ``lists``: the user ids of each list; none if the version was read from the database.
    """

    ruleset: compiled.Ruleset
    groups: Sequence[compiled.TargetGroup]
    source: dict[str, Any]
    lists: Sequence[Sequence[str]] = ()

    def is_same(self, other: "Bundle") -> bool:
        """Return whether the two differ at most in their version numbers."""
        numbered = msgspec.structs.replace(other.ruleset, version=self.ruleset.version)
        return identical(self[:3], (numbered, other.groups, other.source))


def compile_definitions(definitions: Definitions, keys: Sequence[WriteKey]) -> Bundle:
    """Return checked *definitions*, compiled. *keys*: the site's write keys, hashed."""
    groups = {group.id: compile_group(group) for group in definitions.groups}
    source: dict[str, Any] = {
        "site": _written(definitions.site),
        "events": [_written(event) for event in definitions.events],
        "groups": [_written(group, exclude={"list"}) for group in definitions.groups],
        "campaigns": [_written(campaign) for campaign in definitions.campaigns],
    }
    for group in source["groups"]:
        made = groups[group["id"]]
        if made.list is not None or made.uploaded:
            group["list"] = made.list or UPLOADED
    return Bundle(
        ruleset=compile_ruleset(definitions, keys),
        groups=sorted(groups.values(), key=lambda group: group.id),
        source=source,
        lists=[group.list for group in definitions.groups if group.list],
    )


def compile_ruleset(definitions: Definitions, keys: Sequence[WriteKey], *, version: int = 0) -> compiled.Ruleset:
    """Return the ruleset of all campaigns, sorted by id. *keys*: the site's write keys, hashed."""
    site = definitions.site
    campaigns = [compile_campaign(campaign, site, definitions.groups) for campaign in definitions.campaigns]
    return compiled.Ruleset(
        site=site.id,
        version=version,
        keys=list(keys),
        campaigns=sorted(campaigns, key=lambda campaign: campaign.id),
        sender=compiled.Sender(site.sender.address, site.sender.name or "", site.sender.reply_to or "")
        if site.sender
        else None,
        caps=delivery.caps(site),
        consent=delivery.given(site.consent),
        rates=delivery.given(site.sends_per_minute),
        webhook_hosts=list(site.webhooks.hosts) if site.webhooks else [],
        identity=delivery.identity(site),
        events_per_user=delivery.events_per_user(site),
        name=site.name,
        adapters=sorted(set(site.adapters)),
        event_types=_event_types(definitions.events),
    )


def _event_types(events: Sequence[Event]) -> dict[str, dict[str, str]]:
    """Return the numbers and booleans of each event."""
    found: dict[str, dict[str, str]] = {}
    for event in events:
        for name, attribute in (event.attributes or {}).items():
            if attribute.type in ("number", "boolean"):
                found.setdefault(event.name, {})[name] = attribute.type
    return found


def compile_campaign(
    campaign: Campaign, site: Site | None = None, groups: Sequence[TargetGroup] = ()
) -> compiled.Campaign:
    """Return *campaign* as the functions read it. Its version is a hash of everything in it.

    *site*: gives the time zone and the quiet hours; without it, UTC and no quiet hours.
    *groups*: all target groups of the site.
    """
    everyone = campaign.targets == "everyone"
    result = compiled.Campaign(
        id=campaign.id,
        version="",
        name=campaign.name,
        trigger=compile_trigger(campaign.trigger, campaign=campaign.id),
        channel=campaign.channel,
        content=delivery.content(campaign.content) if campaign.content else {},
        everyone=everyone,
        groups=[] if everyone else list(campaign.targets),
        compounds={} if everyone else compounds(campaign.targets, groups),
        reads=sorted(set().union(*map(reads, campaign.contents.values()))),
        priority=campaign.priority,
        schedule=delivery.schedule(campaign, site),
        holdout=campaign.holdout or 0,
        limits=delivery.limits(campaign),
        delay=campaign.delay or 0,
        max_lateness=campaign.lateness,
        watchers=delivery.watchers(campaign),
        goal=compiled.Goal(within=campaign.goal.within) if campaign.goal else None,
        cancel_on_goal=campaign.cancel_on_goal,
        quiet_hours=delivery.quiet_hours(campaign, site),
        send_if_lost=campaign.if_state_lost == "send",
        until_seen=campaign.until_seen or 0,
        variants=[
            compiled.Variant(id=each.id, weight=each.weight, content=delivery.content(each.content))
            for each in campaign.variants
        ],
    )
    hours = [each.zone for each in (result.schedule, result.quiet_hours) if each is not None]
    if "user" in hours or any(map(shows_local_times, campaign.contents.values())):
        result.reads = sorted({*result.reads, TIMEZONE})
    result.version = digest(msgspec.to_builtins(result), 6)
    return result


def _written(definition: Definition, exclude: set[str] | None = None) -> dict[str, Any]:
    return definition.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=exclude)
