"""Definitions: what people write about a site, its target groups and its campaigns.

The same models stand behind files and the admin API. `validate` turns data into them, or says in sentences
what is wrong and where; ``Definitions`` also checks what one definition says about another.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Self

from pydantic import model_validator

from definitions.checks import events as event_checks
from definitions.checks.urls import webhook_host
from definitions.model.campaign import Campaign
from definitions.model.content import Action, EmailContent, PopupContent, PushContent, SmsContent, WebhookContent
from definitions.model.delivery import Goal, Limits, Variant
from definitions.model.event import Attribute, Event, Tag
from definitions.model.field_errors import FieldErrors, InvalidDefinitions, suggestion, validate
from definitions.model.fields import Definition
from definitions.model.group import TargetGroup, check_others
from definitions.model.site import Key, Sender, Site
from definitions.model.times import QuietHours, Schedule
from definitions.model.trigger import Matcher, Step, Trigger, Unless

__all__ = [
    "Action",
    "Attribute",
    "Campaign",
    "Definitions",
    "EmailContent",
    "Event",
    "Goal",
    "InvalidDefinitions",
    "Key",
    "Limits",
    "Matcher",
    "PopupContent",
    "PushContent",
    "QuietHours",
    "Schedule",
    "Sender",
    "Site",
    "SmsContent",
    "Step",
    "Tag",
    "TargetGroup",
    "Trigger",
    "Unless",
    "Variant",
    "WebhookContent",
    "cross_check",
    "validate",
]


class Definitions(Definition):
    """All that is defined for one site."""

    example = "site: {...}, groups: [...], campaigns: [...]"

    site: Site
    events: tuple[Event, ...] = ()
    groups: tuple[TargetGroup, ...] = ()
    campaigns: tuple[Campaign, ...] = ()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found = cross_check(self.site, self.events, self.groups, self.campaigns)
        if found:
            raise FieldErrors(*found)
        return self


def cross_check(
    site: Site | None,
    events: Sequence[Event],
    groups: Sequence[TargetGroup],
    campaigns: Sequence[Campaign],
    *,
    other_groups: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Return field (``campaigns[0].targets[1]``) and message of what does not fit together.

    *site*: ``None`` where it is not known. *other_groups*: ids of groups that exist besides *groups*.
    *events*: none where nothing is known of events.
    """
    found: list[tuple[str, str]] = []
    for kind, field, what, ids in (
        ("events", "name", "event", [event.name for event in events]),
        ("groups", "id", "target group", [group.id for group in groups]),
        ("campaigns", "id", "campaign", [campaign.id for campaign in campaigns]),
    ):
        twice = {name for name, count in Counter(ids).items() if count > 1}
        found += [
            (f"{kind}[{number}].{field}", f"another {what} has the {field} '{name}' too")
            for number, name in enumerate(ids)
            if name in twice and name in ids[:number]
        ]
    known = {group.id for group in groups} | set(other_groups)
    found += check_others(groups, known)
    for number, campaign in enumerate(campaigns):
        for position, name in enumerate(() if campaign.targets == "everyone" else campaign.targets):
            if name not in known:
                hint = suggestion(name, known) or f"; known: {', '.join(sorted(known)) or 'none'}"
                found.append((f"campaigns[{number}].targets[{position}]", f"there is no target group '{name}'{hint}"))
        if site is not None:
            found += [(f"campaigns[{number}].{field}", message) for field, message in _missing(site, campaign)]
    customers = site.customer_attributes if site is not None else None
    if site is not None:
        found += [(f"site.{field}", message) for field, message in event_checks.check_consent(site)]
    defined = event_checks.by_name(events)
    for number, campaign in enumerate(campaigns):
        wrong = event_checks.check_campaign(campaign, defined, customers)
        found += [(f"campaigns[{number}].{field}", message) for field, message in wrong]
    for number, group in enumerate(groups):
        wrong = event_checks.check_rule(group.rule or {}, customers)
        found += [(f"groups[{number}].{field}", message) for field, message in wrong]
    return found


def _missing(site: Site, campaign: Campaign) -> Iterator[tuple[str, str]]:
    """Yield field and message of what *campaign* needs and *site* does not have."""
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
                known = suggestion(host, hosts) or f"; known: {', '.join(hosts) or 'none'}"
                message = f"webhooks may not go to '{host}': add it to 'hosts' of 'webhooks' in the site"
                yield f"{field}.url", message + known
