"""Find the gates that would stop a match now, in the order in which they are checked, each with a sentence."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from decider.policy import is_held_out
from engager.gates import quiet_until, zone_of
from opportune.operations.why.model import LimitUse, Stage
from opportune.operations.why.snapshot import Snapshot
from opportune.operations.why.stages import when
from opportune.replay.explain import words
from shared.channels import ADDRESSES
from shared.contracts import ANONYMOUS_PREFIX
from shared.hours import is_open
from shared.ruleset import Campaign

MISSING = {"email": "no_address", "phone": "no_phone", "push_endpoint": "no_endpoint"}


class ClosedGate(NamedTuple):
    """A gate that is closed. ``delivery``: whether it also stops messages whose trigger has already matched."""

    code: str
    sentence: str
    delivery: bool = False


class GateInput(NamedTuple):
    """The input of every gate."""

    snapshot: Snapshot
    campaign: Campaign
    stages: Sequence[Stage]
    limits: Sequence[LimitUse]


def closed_gates(view: GateInput) -> list[ClosedGate]:
    """Return the gates that are closed now."""
    return [gate for check in _GATES for gate in check(view)]


def is_target(snapshot: Snapshot, campaign: Campaign) -> bool:
    """Return whether the user is a target at their next event."""
    return campaign.everyone or campaign.id in snapshot.state.targets


def _paused(view: GateInput) -> Iterator[ClosedGate]:
    site, campaign = view.snapshot.site, view.campaign
    options = {"*": "", f"channel:{campaign.channel}": f" --channel {campaign.channel}"}
    for what, option in {**options, f"campaign:{campaign.id}": f" --campaign {campaign.id}"}.items():
        if what in view.snapshot.paused:
            paused = f"all of {site}" if what == "*" else f"the {what.replace(':', ' ')}"
            yield ClosedGate(
                "paused", f"{paused} is paused; lift it with `opportune resume {site}{option}`", delivery=True
            )


def _schedule(view: GateInput) -> Iterator[ClosedGate]:
    schedule, snapshot = view.campaign.schedule, view.snapshot
    if schedule is None:
        return
    zone = zone_of(schedule.zone, snapshot.customer or {})
    if zone is None:
        yield ClosedGate("schedule", "its schedule uses the customer's time zone, which is unknown")
    elif not is_open(schedule, snapshot.now, zone):
        yield ClosedGate("schedule", f"the campaign's schedule is closed now ({zone})")


def _target(view: GateInput) -> Iterator[ClosedGate]:
    snapshot, campaign = view.snapshot, view.campaign
    if is_target(snapshot, campaign):
        return
    generation = snapshot.state.generation
    groups = " or ".join(campaign.groups)
    mine = [group for group in campaign.groups if snapshot.groups.get(group)]
    if snapshot.user.startswith(ANONYMOUS_PREFIX):
        text = f"the campaign is for {groups}, and a visitor who has not logged in belongs to no group"
    elif not generation:
        text = "the site has no targets yet: run `opportune targets refresh`"
    elif mine:
        text = (
            f"the user joined {mine[0]} after targets generation {generation}: "
            "the next `opportune targets refresh` makes them a target"
        )
    elif snapshot.customer is None:
        text = f"the campaign is for {groups}, and this user has not been imported as a customer"
    else:
        text = f"the user is not a target: not in {groups}"
    yield ClosedGate("target", text + _lost(snapshot, campaign))


def _lost(snapshot: Snapshot, campaign: Campaign) -> str:
    """Return what happened to progress from the time when the user was a target."""
    row = snapshot.state.row
    for each in row.lost if row else ():
        if each.trigger == campaign.trigger.key:
            at = words.stamp(each.at // 1000 * 1000, near=snapshot.now)
            return (
                f"; earlier progress was dropped at {at}, at the first event after targets generation "
                f"{each.generation} no longer contained the user"
            )
    return ""


def _holdout(view: GateInput) -> Iterator[ClosedGate]:
    campaign, snapshot = view.campaign, view.snapshot
    if is_held_out(snapshot.site, campaign.id, campaign.holdout, snapshot.user):
        share = campaign.holdout / 100
        yield ClosedGate("holdout", f"the user is in the holdout ({share:g}%): matches are recorded, not delivered")


def _once(view: GateInput) -> Iterator[ClosedGate]:
    if not view.campaign.trigger.per and any(stage.done for stage in view.stages):
        yield ClosedGate("once", "the trigger has already matched, and after_match is once")


def _limits(view: GateInput) -> Iterator[ClosedGate]:
    for limit in view.limits:
        if limit.is_full and limit.frees is not None:
            whose = "the campaign's own limit" if limit.gate == "rearm" else f"the cap of {limit.name}"
            used = f"{limit.used} of {limit.most} in {words.duration(limit.per)}"
            text = f"{whose} is used up ({used}); the next slot opens {when(limit.frees, view.snapshot.now)}"
            yield ClosedGate(limit.gate, text)


def _reachable(view: GateInput) -> Iterator[ClosedGate]:
    snapshot, channel = view.snapshot, view.campaign.channel
    if channel not in ADDRESSES:
        return
    if snapshot.customer is None:
        yield ClosedGate(
            "no_customer",
            f"this user has not been imported as a customer, so the {channel} has no address",
            delivery=True,
        )
        return
    attribute = ADDRESSES[channel]
    if not snapshot.customer.get(attribute):
        yield ClosedGate(MISSING[attribute], f"the customer has no attribute {attribute}", delivery=True)


def _permitted(view: GateInput) -> Iterator[ClosedGate]:
    snapshot, channel = view.snapshot, view.campaign.channel
    if channel == "popup":
        return
    if channel in snapshot.opted_out:
        yield ClosedGate("opt_out", f"the customer has unsubscribed from {channel}", delivery=True)
    consent = snapshot.ruleset.consent.get(channel)
    if consent and words.attribute(consent, snapshot.customer or {}) is not True:
        yield ClosedGate("consent", f"the customer has not agreed: {consent} is not true", delivery=True)


def _quiet(view: GateInput) -> Iterator[ClosedGate]:
    quiet, snapshot = view.campaign.quiet_hours, view.snapshot
    if quiet is None:
        return
    is_dropped = quiet.drop or view.campaign.channel == "popup"  # a popup cannot be held
    what = "suppressed" if is_dropped else "held"
    zone = zone_of(quiet.zone, snapshot.customer or {}) or zone_of(quiet.fallback, snapshot.customer or {})
    if zone is None:
        yield ClosedGate("quiet_hours", f"the customer's time zone is unknown: a match is {what}", delivery=True)
        return
    end = quiet_until(quiet, snapshot.now, zone)
    if end is not None:
        # Beside a zone's name, a bare time would be read as local time.
        at = f"{words.stamp(end, near=snapshot.now)} UTC (in {words.about(end - snapshot.now)})"
        text = f"quiet hours in {zone} until {at}: a match is {what}"
        yield ClosedGate("quiet_hours", text, delivery=True)


_GATES: tuple[Callable[[GateInput], Iterator[ClosedGate]], ...] = (
    _paused,
    _schedule,
    _target,
    _once,
    _limits,
    _holdout,
    _reachable,
    _permitted,
    _quiet,
)
