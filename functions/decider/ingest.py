"""Ingest a request of the Gateway: record traits and popup events, decide the events, hand over what fired.

Deciding takes one Redis command per event, and none for an event that no live trigger uses. All firings of a request
are handed over together: popups and records in one call of the Engager, everything else in the queue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from decider.apply_event import apply_event
from decider.hand_over import hand_over, schedule_delayed
from decider.layout import Outcome
from decider.policy import FRESH_MS
from decider.ports import Deps
from decider.store import Unreadable
from decider.user_state import ApplyResult, Firing
from decider.visitors import become_user
from shared.clock import MAX_AHEAD_MS
from shared.contracts import Decide, Decided, Decision, Event, Item
from shared.errors import Unavailable
from shared.identities import Identification, PopupEvent

MAX_LOGGED_NAME = 64  # characters of an attribute's name

REFUSALS = {
    Outcome.RATE_LIMITED: ("rate_limited", "this user sends more events than the site takes"),
    Outcome.HISTORY_TOO_LATE: (
        "history_before_last_event",
        "a history event must not be older than the last event of its user",
    ),
}


@dataclass
class _Batch:
    """What has come of a request so far.

    ``decisions``: by the place of the event in the request.
    ``firings``: by key, each with the decision that gets its popup.
    ``answerable``: the keys of firings that are recent enough for a popup in this response.
    ``unreadable``: users whose rows cannot be read.
    """

    decisions: dict[int, Decision] = field(default_factory=dict)
    firings: dict[str, tuple[Decision, Firing]] = field(default_factory=dict)
    answerable: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)


def ingest(request: Decide, deps: Deps) -> Decided:
    """Process the items in order, each user's events by time; return one decision per event.

    Events are decided even if recording failed. If a row cannot be read, the items of other users are still processed;
    any other failure of Redis ends the request there. What has fired by then is handed over in any case.

    Raises `Unavailable` if any part failed. The caller may repeat the request: an event that was applied returns its
    stored result, and everything else has no effect the second time.
    """
    items = _in_time(request, deps)
    failures = _record(request.site, items, deps)
    batch = _Batch()
    for place, item in _by_time(items):
        try:
            if isinstance(item, Event):
                _decide(request.site, place, item, batch, deps)
            elif isinstance(item, Identification) and item.visitor:
                become_user(request.site, item, deps)
        except Unreadable as error:
            failures.append(error)
        except Unavailable as error:
            failures.append(error)
            break
    if batch.firings:
        firings = [firing for _, firing in batch.firings.values()]
        popups = hand_over(firings, request.deadline, deps, answerable=batch.answerable)
        for key, popup in popups.items():
            batch.firings[key][0].messages.append(popup)
    for failure in failures:
        raise failure
    return Decided([batch.decisions[place] for place in sorted(batch.decisions)])


def _in_time(request: Decide, deps: Deps) -> list[Item]:
    """Return the items. What is said of a user or a popup counts no later than by the clocks of here and of the store.

    A time ahead of both would win over all that is said until then. The script of an event does the same for its time.
    """
    items = list(request.items)
    clock, is_asked = deps.clock(), False
    for place, item in enumerate(items):
        if isinstance(item, Event):
            continue
        ahead = (item.at if isinstance(item, PopupEvent) else max(item.received, item.at)) - clock
        if ahead > MAX_AHEAD_MS and not is_asked:
            now = max(clock, deps.states.clock(request.site, item.user))
            ahead, clock, is_asked = ahead - (now - clock), now, True
        if ahead > MAX_AHEAD_MS:
            items[place] = _set_back(item, ahead)
    return items


def _set_back(item: Identification | PopupEvent, excess: int) -> Item:
    if isinstance(item, PopupEvent):
        return msgspec.structs.replace(item, at=item.at - excess)
    return msgspec.structs.replace(item, received=item.received - excess, at=item.said_at - excess)


def _by_time(items: Sequence[Item]) -> list[tuple[int, Item]]:
    """Return *items* with their places, the events of each user in the order in which they happened.

    A visitor who becomes a user in the request is one user with both ids. All other items keep their place.
    """
    ordered = list(enumerate(items))
    if len(items) < 2:
        return ordered
    users = {item.visitor: item.user for item in items if isinstance(item, Identification) and item.visitor}
    events: dict[str, list[tuple[int, int]]] = {}  # of each user: times and places
    for place, item in ordered:
        if isinstance(item, Event):
            events.setdefault(users.get(item.user, item.user), []).append((item.at, place))
    for own in events.values():
        for (_, place), (_, moved) in zip(own, sorted(own), strict=True):
            ordered[place] = moved, items[moved]
    return ordered


def _record(site: str, items: Sequence[Item], deps: Deps) -> list[Unavailable]:
    """Write traits and popup events; return the failure, if any, because events are decided all the same."""
    identifications = [item for item in items if isinstance(item, Identification)]
    popup_events = [item for item in items if isinstance(item, PopupEvent)]
    if not (identifications or popup_events):
        return []
    try:
        for name in deps.records.write_traits(site, identifications):
            deps.log_warning("a trait was not stored", extra={"attribute": name[:MAX_LOGGED_NAME]})
        deps.records.record_popup_events(site, popup_events)
        rules = deps.rulesets.get().get(site) if popup_events else None
        if rules is not None and rules.index.has_offers:
            deps.states.mark_seen(site, popup_events)
    except Unavailable as error:
        return [error]
    return []


def _decide(site: str, place: int, event: Event, batch: _Batch, deps: Deps) -> None:
    """Apply *event*, at *place* of the request; add its decision and its firings to *batch*."""
    if event.user in batch.unreadable:
        return
    try:
        result = apply_event(site, event, deps)
    except Unreadable:
        batch.unreadable.add(event.user)
        raise
    decision = Decision(event.message_id)
    batch.decisions[place] = decision
    if result is None:
        return
    if result.code in REFUSALS:
        decision.code, decision.message = REFUSALS[result.code]
        decision.retry_after_s = -(-result.retry_after // 1000)
    for firing in _firings(site, result, deps):
        batch.firings.setdefault(firing.key, (decision, firing))  # a batch may contain a message twice
        if event.received - firing.at <= FRESH_MS or firing is result.offer:
            batch.answerable.add(firing.key)
    schedule_delayed(site, result.firings, deps.clock(), deps)


def _firings(site: str, result: ApplyResult, deps: Deps) -> list[Firing]:
    """Return the firings to hand over now, and the popup that is offered again if its campaign is still live."""
    firings = [firing for firing in result.firings if not firing.is_delayed]
    rules, offer = deps.rulesets.get().get(site), result.offer
    if rules is not None and offer is not None and offer.ref[3] in rules.index.by_trigger:
        firings.append(offer)
    return firings
