"""Which gates would stop a match of a campaign now, in the order in which they are asked, each in a sentence."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from decider.policy import is_held_out
from engager.gates import quiet_until, zone_of
from opportune.operations.why.model import Stage, Used
from opportune.operations.why.snapshot import Facts
from opportune.operations.why.stages import when
from opportune.replay.explain import words
from shared.contracts import ANONYMOUS_PREFIX
from shared.hours import is_open
from shared.ruleset import Campaign

ADDRESSES = {"email": ("email", "no_address"), "sms": ("phone", "no_phone"), "push": ("push_endpoint", "no_endpoint")}


class Gate(NamedTuple):
    """A gate that is closed. ``delivery``: it stops what has matched already, too."""

    code: str
    sentence: str
    delivery: bool = False


class View(NamedTuple):
    """What the gates look at."""

    facts: Facts
    campaign: Campaign
    stages: Sequence[Stage]
    limits: Sequence[Used]


def closed(view: View) -> list[Gate]:
    """Return the gates that are closed now."""
    return [gate for look in _GATES for gate in look(view)]


def is_target(facts: Facts, campaign: Campaign) -> bool:
    """Return whether the user's next event would find him to be a target."""
    return campaign.everyone or campaign.id in facts.looked.targets


def _paused(view: View) -> Iterator[Gate]:
    site, campaign = view.facts.site, view.campaign
    options = {"*": "", f"channel:{campaign.channel}": f" --channel {campaign.channel}"}
    for what, option in {**options, f"campaign:{campaign.id}": f" --campaign {campaign.id}"}.items():
        if what in view.facts.paused:
            paused = f"all of {site}" if what == "*" else f"the {what.replace(':', ' ')}"
            yield Gate("paused", f"{paused} is paused; `opportune resume {site}{option}` ends that", delivery=True)


def _schedule(view: View) -> Iterator[Gate]:
    schedule, facts = view.campaign.schedule, view.facts
    if schedule is None:
        return
    zone = zone_of(schedule.zone, facts.customer or {})
    if zone is None:
        yield Gate("schedule", "its hours are those of the customer's time zone, and nobody knows that")
    elif not is_open(schedule, facts.now, zone):
        yield Gate("schedule", f"it is outside the campaign's schedule now ({zone})")


def _target(view: View) -> Iterator[Gate]:
    facts, campaign = view.facts, view.campaign
    if is_target(facts, campaign):
        return
    generation = facts.looked.generation
    groups = " or ".join(campaign.groups)
    mine = [group for group in campaign.groups if facts.groups.get(group)]
    if facts.user.startswith(ANONYMOUS_PREFIX):
        text = f"the campaign is for {groups}, and a visitor who has not logged in is in no group"
    elif not generation:
        text = "targets were never made: `opportune targets refresh` does it"
    elif mine:
        text = (
            f"the user is no target in generation {generation}, though a member of {mine[0]} by now: "
            "the next `opportune targets refresh` sees to that"
        )
    elif facts.customer is None:
        text = f"the campaign is for {groups}, and nobody has imported this user as a customer"
    else:
        text = f"the user is no target: no member of {groups}"
    yield Gate("target", text + _lost(facts, campaign))


def _lost(facts: Facts, campaign: Campaign) -> str:
    """Return what became of progress that the user had made while he was a target."""
    row = facts.looked.row
    for each in row.lost if row else ():
        if each.trigger == campaign.trigger.key:
            at = words.stamp(each.at // 1000 * 1000, near=facts.now)
            return (
                f"; what he had done towards it was dropped at {at}, with the first event after generation "
                f"{each.generation} of the targets left him out"
            )
    return ""


def _holdout(view: View) -> Iterator[Gate]:
    campaign, facts = view.campaign, view.facts
    if is_held_out(facts.site, campaign.id, campaign.holdout, facts.user):
        share = campaign.holdout / 100
        yield Gate(
            "holdout", f"the user belongs to the holdout ({share:g}%): matches are recorded, and never delivered"
        )


def _once(view: View) -> Iterator[Gate]:
    if not view.campaign.trigger.per and any(stage.done for stage in view.stages):
        yield Gate("once", "the trigger has matched before, and after_match is once")


def _limits(view: View) -> Iterator[Gate]:
    for limit in view.limits:
        if limit.is_full and limit.frees is not None:
            whose = "the campaign's own limit" if limit.gate == "rearm" else f"the cap of {limit.name}"
            used = f"{limit.used} of {limit.most} in {words.duration(limit.per)}"
            text = f"{whose} is used up ({used}); the next slot opens {when(limit.frees, view.facts.now)}"
            yield Gate(limit.gate, text)


def _reachable(view: View) -> Iterator[Gate]:
    facts, channel = view.facts, view.campaign.channel
    if channel in ("popup", "webhook"):  # need nothing of the customer
        return
    if facts.customer is None:
        yield Gate(
            "no_customer", f"nobody has imported this user: there is nowhere to send the {channel}", delivery=True
        )
        return
    attribute, code = ADDRESSES.get(channel, ("", ""))
    if attribute and not facts.customer.get(attribute):
        yield Gate(code, f"the customer has no attribute {attribute}", delivery=True)


def _permitted(view: View) -> Iterator[Gate]:
    facts, channel = view.facts, view.campaign.channel
    if channel == "popup":
        return
    if channel in facts.opted_out:
        yield Gate("opt_out", f"the customer has unsubscribed from {channel}", delivery=True)
    consent = facts.ruleset.consent.get(channel)
    if consent and words.attribute(consent, facts.customer or {}) is not True:
        yield Gate("consent", f"the customer has not agreed: {consent} is not true", delivery=True)


def _quiet(view: View) -> Iterator[Gate]:
    quiet, facts = view.campaign.quiet_hours, view.facts
    if quiet is None:
        return
    is_dropped = quiet.drop or view.campaign.channel == "popup"  # nothing of a popup can wait
    what = "suppressed" if is_dropped else "held"
    zone = zone_of(quiet.zone, facts.customer or {}) or zone_of(quiet.fallback, facts.customer or {})
    if zone is None:
        yield Gate("quiet_hours", f"nobody knows the customer's time zone: what matches is {what}", delivery=True)
        return
    end = quiet_until(quiet, facts.now, zone)
    if end is not None:
        # Beside the name of a zone a time would be taken for one on its clocks.
        at = f"{words.stamp(end, near=facts.now)} UTC (in {words.about(end - facts.now)})"
        text = f"there are quiet hours now ({zone}): what matches is {what}; they end at {at}"
        yield Gate("quiet_hours", text, delivery=True)


_GATES: tuple[Callable[[View], Iterator[Gate]], ...] = (
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
