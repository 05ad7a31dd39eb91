"""Campaigns and target groups against what is defined of events and customers.

Where nothing is defined, nothing is checked: a site without event definitions may use any event, and an event
without ``attributes`` may have any.
"""

from collections.abc import Iterator, Mapping, Sequence

from definitions.checks.attributes import Found, Known, about_name, check_condition
from definitions.checks.satisfiability import contradiction
from definitions.model.campaign import Campaign
from definitions.model.event import BUILT_IN, TAG_EVENT_PREFIX, Event
from definitions.model.field_errors import suggestion
from definitions.model.liquid import variables
from definitions.model.site import Site
from definitions.model.trigger import Matcher

# Attributes of customers that channels use, whatever a site says of its own.
OF_CHANNELS = frozenset({"id", "email", "phone", "timezone"})

A_CUSTOMER = "a customer"

Events = Mapping[str, Event]


def by_name(events: Sequence[Event]) -> Events:
    """Return event definitions by their names."""
    return {event.name: event for event in events}


def check_campaign(campaign: Campaign, events: Events, customers: Known | None) -> Found:
    """Yield field and message of what *campaign* says of events and attributes that cannot be right."""
    for field, matcher in _matchers(campaign):
        yield from _check_matcher(field, matcher, events)
    for name in sorted(set(campaign.trigger.subject or ())):
        yield from _check_name("trigger.subject", name, events)
    for number, name in enumerate(campaign.trigger.per):
        for event in _named(campaign.trigger.matchers(), events):
            message = about_name(name, event.attributes or {}, f"event '{event.name}'")
            if message:
                yield (
                    f"trigger.per[{number}]",
                    f"every event of the trigger needs it: {message}",
                )
    yield from _check_content(campaign, events, customers)


def check_rule(rule: Mapping[str, object], customers: Known | None) -> Found:
    """Yield what makes the rule of a target group impossible: no customer will ever meet it."""
    wrong = [] if customers is None else list(check_condition(rule, customers, A_CUSTOMER, "rule"))
    found = contradiction(rule, customers or {}, "rule")
    yield from wrong or ([found] if found else [])


def check_consent(site: Site) -> Found:
    """Yield what is wrong with the attributes that say who may be written to: each must be true of somebody."""
    known = site.customer_attributes
    if known is not None and site.consent is not None:
        for channel, name in site.consent.model_dump(exclude_none=True).items():
            for _, message in check_condition({name: True}, known, A_CUSTOMER):
                yield f"consent.{channel}", message


def _matchers(campaign: Campaign) -> Iterator[tuple[str, Matcher]]:
    for field, matcher in campaign.trigger.matchers():
        yield f"trigger.{field}", matcher
    for number, matcher in enumerate(campaign.cancel_on):
        yield f"cancel_on[{number}]", matcher
    if campaign.goal is not None:
        yield "goal", campaign.goal


def _named(matchers: Iterator[tuple[str, Matcher]], events: Events) -> list[Event]:
    """Return the events that *matchers* name and that say which attributes they have, each once."""
    names = dict.fromkeys(name for _, matcher in matchers for name in matcher.event)
    return [event for name in names if (event := events.get(name)) and event.attributes is not None]


def _check_matcher(field: str, matcher: Matcher, events: Events) -> Found:
    for name in matcher.event:
        yield from _check_name(f"{field}.event", name, events)
    wrong: list[tuple[str, str]] = []
    clash = contradiction(matcher.where, {}, f"{field}.where")
    for event in _named(iter([(field, matcher)]), events):
        known = event.attributes or {}
        wrong += check_condition(matcher.where, known, f"event '{event.name}'", f"{field}.where")
        clash = clash or contradiction(matcher.where, known, f"{field}.where")
    yield from wrong or ([clash] if clash else [])


def _check_name(field: str, name: str, events: Events) -> Found:
    if events and name not in events and name not in BUILT_IN and not name.startswith(TAG_EVENT_PREFIX):
        hint = suggestion(name, events) or f"; defined: {', '.join(sorted(events))}"
        yield field, f"no event '{name}' is defined{hint}"


def completing(campaign: Campaign) -> list[Matcher]:
    """Return the matchers of which one is the last event of every match: its attributes are what content has."""
    trigger = campaign.trigger
    return [trigger.sequence[-1]] if trigger.sequence else list(trigger.all_of or ())


def _check_content(campaign: Campaign, events: Events, customers: Known | None) -> Found:
    described = _named((("", matcher) for matcher in completing(campaign)), events)
    for field, written in campaign.contents.items():
        for below, root, name in variables(written):
            if root == "event":
                about = [about_name(name, each.attributes or {}, f"event '{each.name}'") for each in described]
                if about and all(about):
                    yield f"{field}.{below}", f"{{{{ event.{name} }}}} is always empty: {about[0]}"
            elif root == "customer" and customers is not None and name not in OF_CHANNELS:
                message = about_name(name, customers, A_CUSTOMER)
                if message:
                    yield f"{field}.{below}", f"{{{{ customer.{name} }}}} is always empty: {message}"
