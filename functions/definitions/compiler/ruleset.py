"""Compile what people write into what the functions read: definitions to a ruleset."""

from collections.abc import Sequence

import msgspec

from definitions.compiler import delivery
from definitions.compiler.groups import compounds
from definitions.compiler.trigger import compile_trigger, digest
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.group import TargetGroup
from definitions.model.liquid import reads
from definitions.model.site import Site
from shared import ruleset as compiled
from shared.contracts import WriteKey


def compile_campaign(
    campaign: Campaign, site: Site | None = None, groups: Sequence[TargetGroup] = ()
) -> compiled.Campaign:
    """Return *campaign* as the functions read it; its version changes with anything in it.

    *site*: whose time zone and quiet hours it has; without one, UTC and none. *groups*: all target groups.
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
    result.version = digest(msgspec.to_builtins(result), 6)
    return result


def compile_ruleset(definitions: Definitions, *, version: int, keys: list[WriteKey]) -> compiled.Ruleset:
    """Return the ruleset of all campaigns, sorted by id. *keys*: the site's write keys, already hashed."""
    site = definitions.site
    sender = site.sender
    return compiled.Ruleset(
        site=site.id,
        version=version,
        keys=keys,
        campaigns=sorted(
            (compile_campaign(c, site, definitions.groups) for c in definitions.campaigns), key=lambda c: c.id
        ),
        sender=compiled.Sender(address=sender.address, name=sender.name or "") if sender else None,
        caps=delivery.caps(site),
        consent=delivery.given(site.consent),
        rates=delivery.given(site.sends_per_minute),
        webhook_hosts=list(site.webhooks.hosts) if site.webhooks else [],
        identity=delivery.identity(site),
        events_per_user=delivery.events_per_user(site),
        name=site.name,
    )
