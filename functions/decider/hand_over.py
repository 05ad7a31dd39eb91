"""Hand firings over to the Engager, and schedule doorbells for those that are delayed.

A delayed activation is handed over only when its timer is due, never by the call that decided it. It may be cancelled
in between, and only the state store knows.
"""

from collections.abc import Container, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from decider.activations import activation, conversion
from decider.doorbells import MAX_HOP_S
from decider.ports import Deps
from decider.user_state import WAITING_GATES, Firing
from shared.contracts import Activation, Conversion, Doorbell
from shared.errors import Unavailable


class Route(Enum):
    """The ways in which the Engager gets a firing: all but the queue share one synchronous call."""

    POPUP = "popup"
    RECORD = "record"
    CONVERSION = "conversion"
    QUEUE = "queue"


class Handover(NamedTuple):
    """A firing, the message that tells the Engager about it, and the route of that message."""

    firing: Firing
    route: Route
    message: Activation | Conversion


def _handover(firing: Firing, *, answerable: bool) -> Handover:
    if firing.reason == "goal":
        return Handover(firing, Route.CONVERSION, conversion(firing))
    message = activation(firing, answerable=answerable)
    if message.suppressed:
        return Handover(firing, Route.RECORD, message)
    return Handover(firing, Route.POPUP if message.channel == "popup" else Route.QUEUE, message)


def hand_over(
    firings: Sequence[Firing], deadline: int, deps: Deps, *, answerable: Container[str] = ()
) -> dict[str, dict[str, Any]]:
    """Hand *firings* over, acknowledge them, and return the rendered popups by firing key.

    *answerable*: the keys of firings whose popup can still be shown with this response.
    Raises `Unavailable` if a route failed. What the other route took is acknowledged before that.
    """
    handovers = [_handover(firing, answerable=firing.key in answerable) for firing in firings]
    queued = [each for each in handovers if each.route is Route.QUEUE]
    engaged = [each for each in handovers if each.route is not Route.QUEUE]
    popups: dict[str, dict[str, Any]] = {}
    done: list[Handover] = []
    try:
        if queued:
            deps.deliveries.enqueue([each.message for each in queued if isinstance(each.message, Activation)])
            done += queued
        if engaged:
            popups = deps.deliveries.engage(
                [each.message for each in engaged if isinstance(each.message, Activation)],
                [each.message for each in engaged if isinstance(each.message, Conversion)],
                deadline,
            )
            done += engaged
    finally:
        if done:
            deps.states.acknowledge([each.firing for each in done])
    for firing in firings:
        if firing.gate not in WAITING_GATES and firing.due - firing.at > MAX_HOP_S * 1000:
            deps.doorbells.cancel_doorbell(firing.key)  # it was cancelled before its schedule
    shown = (each for each in engaged if each.route is Route.POPUP)
    return {each.firing.key: popups[each.message.id] for each in shown if each.message.id in popups}


def schedule_delayed(site: str, firings: Sequence[Firing], now: int, deps: Deps) -> None:
    """Schedule a doorbell for each of *firings* that is delayed.

    One that is due by now gets a doorbell too: an earlier call may have failed.
    Raises `Unavailable` if one of them may have no doorbell, after all others were tried.
    """
    failure: Unavailable | None = None
    for firing in firings:
        if firing.is_delayed:
            try:
                _schedule(site, firing, now, deps)
            except Unavailable as error:
                failure = error
    if failure is not None:
        raise failure


def _schedule(site: str, firing: Firing, now: int, deps: Deps) -> None:
    rules = deps.rulesets.get().get(site)
    campaign = rules.index.by_trigger.get(firing.ref[3]) if rules else None
    lost = activation(firing, answerable=False)
    if campaign is None or not campaign.send_if_lost:
        lost = msgspec.structs.replace(lost, suppressed="state_lost", attributes={})
    doorbell = Doorbell(key=firing.key, state_epoch=firing.state_epoch, lost=lost)
    deps.doorbells.schedule_doorbell(doorbell, firing.due, now)
