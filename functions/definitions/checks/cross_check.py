"""Check what definitions say about each other: unique ids, known references, and what a campaign needs of its site."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from definitions.checks import events as event_checks
from definitions.checks.groups import check_references
from definitions.model.campaign import Campaign
from definitions.model.content import WebhookContent
from definitions.model.event import Event
from definitions.model.field_errors import choices
from definitions.model.group import TargetGroup
from definitions.model.site import Site
from definitions.model.urls import webhook_host


def cross_check(
    site: Site | None,
    events: Sequence[Event],
    groups: Sequence[TargetGroup],
    campaigns: Sequence[Campaign],
    *,
    other_groups: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Return a field (``campaigns[0].targets[1]``) and a message for every conflict.

    *site*: ``None`` skips the checks that need it.
    *events*: if empty, campaigns may use any event.
    *other_groups*: ids of existing groups that are not in *groups*.
    """
    known = {group.id for group in groups} | set(other_groups)
    customers = site.customer_attributes if site is not None else None
    found = [*_duplicates(events, groups, campaigns), *check_references(groups, known)]
    for number, campaign in enumerate(campaigns):
        found += _within(f"campaigns[{number}]", _check_targets(campaign, known))
        if site is not None:
            found += _within(f"campaigns[{number}]", _check_needs(campaign, site))
    if site is not None:
        found += _within("site", event_checks.check_consent(site))
    by_name = event_checks.by_name(events)
    for number, campaign in enumerate(campaigns):
        found += _within(f"campaigns[{number}]", event_checks.check_campaign(campaign, by_name, customers))
    for number, group in enumerate(groups):
        found += _within(f"groups[{number}]", event_checks.check_rule(group.rule or {}, customers))
    return found


def _within(place: str, found: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((f"{place}.{field}", message) for field, message in found)


def _duplicates(
    events: Sequence[Event], groups: Sequence[TargetGroup], campaigns: Sequence[Campaign]
) -> Iterator[tuple[str, str]]:
    for kind, field, noun, ids in (
        ("events", "name", "event", [event.name for event in events]),
        ("groups", "id", "target group", [group.id for group in groups]),
        ("campaigns", "id", "campaign", [campaign.id for campaign in campaigns]),
    ):
        repeated = {name for name, count in Counter(ids).items() if count > 1}
        for number, name in enumerate(ids):
            if name in repeated and name in ids[:number]:
                yield f"{kind}[{number}].{field}", f"another {noun} has the {field} '{name}' too"


def _check_targets(campaign: Campaign, known: set[str]) -> Iterator[tuple[str, str]]:
    for position, name in enumerate(() if campaign.targets == "everyone" else campaign.targets):
        if name not in known:
            yield f"targets[{position}]", f"there is no target group '{name}'{choices(name, known)}"


def _check_needs(campaign: Campaign, site: Site) -> Iterator[tuple[str, str]]:
    """Yield what *campaign* needs and *site* does not have."""
    if campaign.channel == "email" and site.sender is None:
        yield "channel", "e-mails need a sender: add 'sender' with 'address' and 'name' to the site"
    if campaign.quiet_hours in ("hold", "drop") and site.quiet_hours is None:
        message = f"the site has no quiet hours to {campaign.quiet_hours} in: write 'from' and 'to' here, or there"
        yield "quiet_hours", message
    for field, content in campaign.contents.items():
        if isinstance(content, WebhookContent):
            host = webhook_host(content.url)
            hosts = site.webhooks.hosts if site.webhooks else ()
            if host is not None and host not in hosts:
                message = f"webhooks may not go to '{host}': add it to 'hosts' of 'webhooks' in the site"
                yield f"{field}.url", message + choices(host, hosts, in_order=True)
