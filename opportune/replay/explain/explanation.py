"""Explain each event of one user: its role in each campaign, its effect, and what kept it from going further."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from decider.keys import message_digest
from decider.timers import GRACE_MS
from definitions.model.campaign import Campaign
from opportune.events.recorded import attach_context
from opportune.events.streams import Recorded
from opportune.replay.engine import unsorted_events
from opportune.replay.explain.explainer import Explainer, Moment
from opportune.replay.explain.model import Explained
from opportune.replay.explain.trace import Machine
from shared.context import NAMES


class TimedEvent(NamedTuple):
    """An event of the user. ``late_ms``: how long after it the file says that it arrived."""

    event: Recorded
    late_ms: int


def gather(events: Iterable[Recorded], user: str, *, in_order: bool) -> list[TimedEvent]:
    """Return the events of *user*, each with its lateness; sorted by time if *in_order*.

    Events of a visitor who became *user* are among them. If there are such visitors, *events* is iterated again.
    """
    owners: dict[str, str] = {}  # of each visitor, the user of the first login
    found = []
    for event in events:
        if event.visitor:
            owners.setdefault(event.visitor, event.user)
        elif event.user == user:
            found.append(event)
    if user in owners.values():
        found = list(_follow(events, user, owners))
    newest, timed = 0, []
    for event in found:
        timed.append(TimedEvent(event, max(0, newest - event.at, event.received - event.at)))
        newest = max(newest, event.at)
    if in_order:
        for event in found:
            event.received = 0
        timed.sort(key=lambda seen: seen.event.at)
    return timed


def _follow(events: Iterable[Recorded], user: str, owners: dict[str, str]) -> Iterator[Recorded]:
    for event in events:
        if event.visitor:
            owners[event.visitor] = event.user
        elif user in (event.user, owners.get(event.user)):
            attach_context(event, NAMES)
            yield event


def explain(campaigns: Sequence[Campaign], events: Iterable[TimedEvent], until: int) -> list[Explained]:
    """Return one explanation per campaign of one user's *events*.

    *until*: the time (ms) to which the clock runs after the last event.
    Raises `UnsortedEvents` in the same cases as a replay.
    """
    machine = Machine()
    explainers = [Explainer(campaign, machine) for campaign in campaigns]
    recent, older, time, received = b"", b"", 0, 0
    for event, late_ms in events:
        repeated = False
        if any(each.is_relevant(event) for each in explainers):
            digest = message_digest(event.message_id)
            repeated = machine.messages.is_known(recent, older, digest)
            if not repeated:
                if not event.received and any(each.is_unsorted(event, time) for each in explainers):
                    raise unsorted_events(event)
                received = max(event.received, time, event.at)
                time = max([time, *(each.expire(received - GRACE_MS) for each in explainers)])
                time = max(time, event.at)
                recent, older, _ = machine.messages.remember(recent, older, digest, received)
        for explainer in explainers:
            explainer.add(event, late_ms, Moment(time, received), repeated=repeated)
    return [explainer.finish(until) for explainer in explainers]
