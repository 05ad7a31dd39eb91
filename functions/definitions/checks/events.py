"""Check campaigns and target groups against the declared events and customer attributes.

Without declarations there is nothing to check: a site that defines no events may use any event, and an event without
``attributes`` may have any.
"""

from collections.abc import Iterator, Mapping, Sequence

from definitions.checks.attributes import (
    Errors,
    Known,
    attribute_error,
    check_attributes,
    check_event_attributes,
    context_error,
)
from definitions.checks.satisfiability import contradiction
from definitions.model.campaign import Campaign
from definitions.model.event import BUILT_IN, TAG_EVENT_PREFIX, Event
from definitions.model.field_errors import choices
from definitions.model.liquid import variables
from definitions.model.site import Site
from definitions.model.trigger import Matcher
from shared.channels import ADDRESSES
from shared.context import ROOT, is_context

# Attributes that channels use, so every site has them.
CHANNEL_ATTRIBUTES = frozenset({"id", "timezone", *ADDRESSES.values()})

A_CUSTOMER = "a customer"

Events = Mapping[str, Event]


def by_name(events: Sequence[Event]) -> Events:
    """Return event definitions by name."""
    return {event.name: event for event in events}


def check_campaign(campaign: Campaign, events: Events, customers: Known | None) -> Errors:
    """Yield a field and a message for each event or attribute in *campaign* that is not declared or cannot match."""
    for field, matcher in _matchers(campaign):
        yield from _check_matcher(field, matcher, events)
    for name in sorted(set(campaign.trigger.subject or ())):
        yield from _check_name("trigger.subject", name, events)
    for number, name in enumerate(campaign.trigger.per):
        yield from ((f"trigger.per[{number}]", message) for message in _run_errors(name, campaign, events))
    yield from _check_content(campaign, events, customers)


def _run_errors(name: str, campaign: Campaign, events: Events) -> Iterator[str]:
    """Yield why some event of the trigger has no attribute *name*, by which its runs are kept apart."""
    if is_context(name):
        yield from filter(None, [context_error(name)])
        return
    for event in _described(campaign.trigger.matchers(), events):
        message = attribute_error(name, event.attributes or {}, f"event '{event.name}'")
        if message:
            yield f"every event of the trigger needs it: {message}"


def check_rule(rule: Mapping[str, object], customers: Known | None) -> Errors:
    """Yield why no customer can ever meet the *rule* of a target group."""
    errors = [] if customers is None else list(check_attributes(rule, customers, A_CUSTOMER, "rule"))
    found = contradiction(rule, customers or {}, "rule")
    yield from errors or ([found] if found else [])


def check_consent(site: Site) -> Errors:
    """Yield a field and a message for each consent attribute that can never be true."""
    known = site.customer_attributes
    if known is not None and site.consent is not None:
        for channel, name in site.consent.model_dump(exclude_none=True).items():
            for _, message in check_attributes({name: True}, known, A_CUSTOMER):
                yield f"consent.{channel}", message


def completing(campaign: Campaign) -> list[Matcher]:
    """Return the matchers that can complete a match; the content has the attributes of that event."""
    trigger = campaign.trigger
    return [trigger.sequence[-1]] if trigger.sequence else list(trigger.all_of or ())


def _matchers(campaign: Campaign) -> Iterator[tuple[str, Matcher]]:
    for field, matcher in campaign.trigger.matchers():
        yield f"trigger.{field}", matcher
    for number, matcher in enumerate(campaign.cancel_on):
        yield f"cancel_on[{number}]", matcher
    if campaign.goal is not None:
        yield "goal", campaign.goal


def _described(matchers: Iterator[tuple[str, Matcher]], events: Events) -> list[Event]:
    """Return the events in *matchers* whose attributes are declared, each once."""
    names = dict.fromkeys(name for _, matcher in matchers for name in matcher.event)
    return [event for name in names if (event := events.get(name)) and event.attributes is not None]


def _check_matcher(field: str, matcher: Matcher, events: Events) -> Errors:
    for name in matcher.event:
        yield from _check_name(f"{field}.event", name, events)
    described = _described(iter([(field, matcher)]), events)
    errors = list(check_event_attributes(matcher.where, None, f"{field}.where"))
    conflict = contradiction(matcher.where, {}, f"{field}.where")
    for event in described:
        errors += check_event_attributes(matcher.where, event, f"{field}.where")
        conflict = conflict or contradiction(matcher.where, event.attributes or {}, f"{field}.where")
    yield from dict.fromkeys(errors) or ([conflict] if conflict else [])


def _check_name(field: str, name: str, events: Events) -> Errors:
    if events and name not in events and name not in BUILT_IN and not name.startswith(TAG_EVENT_PREFIX):
        yield field, f"no event '{name}' is defined{choices(name, events, label='defined')}"


def _check_content(campaign: Campaign, events: Events, customers: Known | None) -> Errors:
    described = _described((("", matcher) for matcher in completing(campaign)), events)
    for field, content in campaign.contents.items():
        for below, root, name in variables(content):
            if root == "event":
                errors = [attribute_error(name, each.attributes or {}, f"event '{each.name}'") for each in described]
                if errors and all(errors):
                    yield f"{field}.{below}", f"{{{{ event.{name} }}}} is always empty: {errors[0]}"
            elif root == ROOT:
                message = context_error(f"{ROOT}.{name}")
                if message:
                    yield f"{field}.{below}", f"{{{{ {ROOT}.{name} }}}} is always empty: {message}"
            elif root == "customer" and customers is not None and name not in CHANNEL_ATTRIBUTES:
                message = attribute_error(name, customers, A_CUSTOMER)
                if message:
                    yield f"{field}.{below}", f"{{{{ customer.{name} }}}} is always empty: {message}"
