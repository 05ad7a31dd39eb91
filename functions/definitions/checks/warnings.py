"""What is allowed and yet can hardly be meant: campaigns that never start, or always lose to another one.

Pure. Warnings, not errors: each is certain in itself, but a campaign that is over may well stay in the folder.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from definitions.checks.events import completing
from definitions.compiler.trigger import compile_trigger
from definitions.model.campaign import Campaign
from definitions.model.identical import identical
from definitions.model.site import Site
from definitions.model.times import DAY_MINUTES, HOURS, QuietHours, minutes, moment
from definitions.model.trigger import Matcher

Doubt = tuple[str, str]


def doubts(site: Site, campaigns: Sequence[Campaign], now: datetime) -> Iterator[Doubt]:
    """Yield field (``campaigns[0].schedule.to``) and message of what people should look at again."""
    for number, campaign in enumerate(campaigns):
        for field, message in _about(campaign, site, now):
            yield f"campaigns[{number}].{field}", message
        lost = (_loses(campaign, winner, site) for winner in campaigns if winner is not campaign)
        if reason := next(filter(None, lost), None):
            yield f"campaigns[{number}].priority", reason


def _about(campaign: Campaign, site: Site, now: datetime) -> Iterator[Doubt]:
    schedule = campaign.schedule
    if schedule is None:
        return
    zone = ZoneInfo(site.timezone if schedule.timezone in ("site", "user") else schedule.timezone)
    if schedule.to is not None:
        end = moment(schedule.to, end=True).replace(tzinfo=zone)
        if end <= now:
            yield "schedule.to", f"the campaign is over since {schedule.to}: it never activates again"
    quiet = _quiet_hours(campaign, site)
    if quiet is not None and schedule.hours is not None and schedule.timezone == quiet.timezone:
        found = HOURS.fullmatch(schedule.hours)
        if found and _minutes(found[1], found[2]) <= _minutes(quiet.from_, quiet.to):
            hours = f"the quiet hours ({quiet.from_} to {quiet.to})"
            message = f"all of {schedule.hours} lies in {hours}, which drop what falls into them: nothing is ever sent"
            yield "schedule.hours", message


def _quiet_hours(campaign: Campaign, site: Site) -> QuietHours | None:
    """Return the quiet hours that drop what *campaign* sends, ``None`` where there are none."""
    own = campaign.quiet_hours
    if isinstance(own, QuietHours):
        return own if own.then == "drop" else None
    if own in ("ignore", "hold") or site.quiet_hours is None:
        return None
    drops = own == "drop" or (site.quiet_hours.then == "drop" and campaign.channel in site.quiet_hours.channels)
    return site.quiet_hours if drops else None


def _minutes(start: str, stop: str) -> frozenset[int]:
    """Return the minutes of the day from *start* to *stop*, excluded, maybe across midnight."""
    first, last = minutes(start), minutes(stop)
    return frozenset(n % DAY_MINUTES for n in range(first, last if last > first else last + DAY_MINUTES))


def _loses(loser: Campaign, winner: Campaign, site: Site) -> str | None:
    """Return why *loser* can never come through where *winner* is: it matches too, and comes first.

    Both match at the same events where they have the very same trigger and targets, or where *winner* starts at each
    of the events that can complete *loser*. What may stop the winner (limits, holdout, schedule) lets the other one
    through, and then there is nothing to say.
    """
    if (-winner.priority, winner.id) > (-loser.priority, loser.id) or winner.limits or winner.holdout:
        return None
    if winner.schedule is not None and winner.schedule != loser.schedule:
        return None
    ground = _one_place(loser, winner, site)
    if ground is None or not _covers(winner, loser):
        return None
    rank = "has the higher priority" if winner.priority > loser.priority else "comes first by its id"
    return f"never comes through: campaign '{winner.id}' matches at the same events and {rank}, and {ground}"


def _one_place(loser: Campaign, winner: Campaign, site: Site) -> str | None:
    """Return why there is room for one of the two only."""
    if loser.channel == winner.channel == "popup":
        return "an answer has one popup"
    caps = site.caps
    own = getattr(caps, loser.channel) if caps and loser.channel == winner.channel else None
    # A popup may be stopped where its answer is late or nobody is there to see it; an e-mail then takes the place.
    total = caps.total if caps and (winner.channel != "popup" or loser.channel == "popup") else None
    for name, cap in ((loser.channel, own), ("total", total)):
        if cap is not None and cap.max == 1:
            return f"the cap '{name}' of the site lets one through"
    return None


def _covers(winner: Campaign, loser: Campaign) -> bool:
    if winner.trigger.max_backdate < loser.trigger.max_backdate:
        return False
    same = compile_trigger(winner.trigger).key == compile_trigger(loser.trigger).key
    if same and _targets(winner) == _targets(loser):
        return True
    reaches = winner.targets == "everyone" or (loser.targets != "everyone" and _targets(loser) <= _targets(winner))
    step = _at_once(winner)
    return (
        reaches
        and step is not None
        and loser.trigger.unless is None
        and all(
            set(each.event) <= set(step.event) and (not step.where or identical(step.where, each.where))
            for each in completing(loser)
        )
    )


def _targets(campaign: Campaign) -> frozenset[str]:
    return frozenset(["everyone"] if campaign.targets == "everyone" else campaign.targets)


def _at_once(campaign: Campaign) -> Matcher | None:
    """Return the only step of a campaign that starts at every such event, ``None`` where it does not."""
    trigger = campaign.trigger
    steps = trigger.sequence or ()
    simple = len(steps) == 1 and steps[0].times == 1 and trigger.unless is None and not trigger.per
    return steps[0] if simple and trigger.after_match != "once" else None
