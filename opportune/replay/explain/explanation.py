"""`opportune replay --explain`: what every event of one user was to each campaign, what it did, and why no more."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from decider.keys import message_digest
from definitions.model.campaign import Campaign
from opportune.events.streams import Recorded
from opportune.replay.engine import UnsortedEvents
from opportune.replay.explain.explainer import Teller
from opportune.replay.explain.model import Explained
from opportune.replay.explain.trace import Machine


class Seen(NamedTuple):
    """An event of the user; ``late_ms``: how much newer the newest event before it in the file is."""

    event: Recorded
    late_ms: int


def gather(events: Iterable[Recorded], user: str, *, in_order: bool) -> list[Seen]:
    """Return the events of *user* and how late each came; sorted by time if *in_order*."""
    newest = 0
    found = []
    for event in events:
        if event.user == user:
            found.append(Seen(event, max(0, newest - event.at)))
            newest = max(newest, event.at)
    return sorted(found, key=lambda seen: seen.event.at) if in_order else found


def explain(campaigns: Sequence[Campaign], events: Iterable[Seen], until: int) -> list[Explained]:
    """Return the story of one user's *events* in each campaign; the clock runs on *until* then (ms).

    Raises `UnsortedEvents` where a replay would.
    """
    machine = Machine()
    tellers = [Teller(campaign, machine) for campaign in campaigns]
    recent, time = "", 0
    for event, late_ms in events:
        repeated = False
        if any(teller.is_relevant(event) for teller in tellers):
            digest = message_digest(event.message_id).hex()[: machine.code.DIGEST]
            repeated = machine.code.is_seen(recent, digest)
            if not repeated:
                if event.at < time:
                    raise UnsortedEvents(
                        f"{event.where}: this event is older than the one before it of the same user; "
                        "sort the file by time, or let --sort do it"
                    )
                time = event.at
                recent, _ = machine.code.remember(recent, digest)
        for teller in tellers:
            teller.tell(event, late_ms, repeated=repeated)
    return [teller.end(until) for teller in tellers]
