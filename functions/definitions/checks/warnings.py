"""Find what is allowed but probably a mistake: campaigns that never start, or that another one always beats.

Each warning is certain. They are not errors because a finished campaign may well stay in its folder.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from definitions.checks.events import completing
from definitions.checks.text_messages import about_letters
from definitions.compiler.trigger import compile_trigger
from definitions.model.campaign import Campaign
from definitions.model.identical import identical
from definitions.model.site import Site
from definitions.model.times import DAY_MINUTES, HOURS, QuietHours, minutes, moment
from definitions.model.trigger import Matcher


def find_warnings(site: Site, campaigns: Sequence[Campaign], now: datetime) -> Iterator[tuple[str, str]]:
    """Yield a field (``campaigns[0].schedule.to``) and a message for each warning."""
    for number, campaign in enumerate(campaigns):
        for field, message in _about_schedule(campaign, site, now):
            yield f"campaigns[{number}].{field}", message
        reasons = (_beaten_by(winner, campaign, site) for winner in campaigns if winner is not campaign)
        if reason := next(filter(None, reasons), None):
            yield f"campaigns[{number}].priority", reason
    yield from about_letters(campaigns)


def _about_schedule(campaign: Campaign, site: Site, now: datetime) -> Iterator[tuple[str, str]]:
    schedule = campaign.schedule
    if schedule is None:
        return
    zone = ZoneInfo(site.timezone if schedule.timezone in ("site", "user") else schedule.timezone)
    if schedule.to is not None and moment(schedule.to, end=True).replace(tzinfo=zone) <= now:
        yield "schedule.to", f"the campaign ended on {schedule.to}: it never activates again"
    quiet = _dropping_quiet_hours(campaign, site)
    if quiet is not None and schedule.hours is not None and schedule.timezone == quiet.timezone:
        found = HOURS.fullmatch(schedule.hours)
        if found and _minutes(found[1], found[2]) <= _minutes(quiet.from_, quiet.to):
            hours = f"the quiet hours from {quiet.from_} to {quiet.to}"
            yield "schedule.hours", f"nothing is ever sent: {hours} drop every message between {schedule.hours}"


def _dropping_quiet_hours(campaign: Campaign, site: Site) -> QuietHours | None:
    """Return the quiet hours that drop messages of *campaign*, or ``None``."""
    own = campaign.quiet_hours
    if isinstance(own, QuietHours):
        return own if own.then == "drop" else None
    if own in ("ignore", "hold") or site.quiet_hours is None:
        return None
    drops = own == "drop" or (site.quiet_hours.then == "drop" and campaign.channel in site.quiet_hours.channels)
    return site.quiet_hours if drops else None


def _minutes(start: str, stop: str) -> frozenset[int]:
    """Return the minutes of the day from *start* to *stop*, excluded; the period may cross midnight."""
    first, last = minutes(start), minutes(stop)
    return frozenset(n % DAY_MINUTES for n in range(first, last if last > first else last + DAY_MINUTES))


def _beaten_by(winner: Campaign, loser: Campaign, site: Site) -> str | None:
    """Return why *loser* never activates while *winner* is live, or ``None``.

    *winner* must rank higher and match at every event at which *loser* matches, and only one of them may activate.
    If limits, a holdout or a schedule can stop *winner*, *loser* has a chance.
    """
    if (-winner.priority, winner.id) > (-loser.priority, loser.id) or winner.limits or winner.holdout:
        return None
    if winner.schedule is not None and winner.schedule != loser.schedule:
        return None
    conflict = _conflict(winner, loser, site)
    if conflict is None or not _covers(winner, loser):
        return None
    rank = "has the higher priority" if winner.priority > loser.priority else "comes first by its id"
    return f"never activates: campaign '{winner.id}' matches at the same events and {rank}, and {conflict}"


def _conflict(winner: Campaign, loser: Campaign, site: Site) -> str | None:
    """Return why only one of the two can activate, or ``None``."""
    if loser.channel == winner.channel == "popup":
        return "a response has one popup"
    caps = site.caps
    own = getattr(caps, loser.channel) if caps and loser.channel == winner.channel else None
    # A popup may be dropped because its response is late; then an e-mail takes its place.
    total = caps.total if caps and (winner.channel != "popup" or loser.channel == "popup") else None
    for name, cap in ((loser.channel, own), ("total", total)):
        if cap is not None and cap.max == 1:
            return f"the cap '{name}' of the site allows one"
    return None


def _covers(winner: Campaign, loser: Campaign) -> bool:
    """Return whether *winner* certainly matches at every event at which *loser* matches."""
    if winner.trigger.max_backdate < loser.trigger.max_backdate:
        return False
    same = compile_trigger(winner.trigger).key == compile_trigger(loser.trigger).key
    if same and _targets(winner) == _targets(loser):
        return True
    reaches = winner.targets == "everyone" or (loser.targets != "everyone" and _targets(loser) <= _targets(winner))
    step = _only_step(winner)
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


def _only_step(campaign: Campaign) -> Matcher | None:
    """Return the step of a campaign that matches at each such event, or ``None`` for any other campaign."""
    trigger = campaign.trigger
    steps = trigger.sequence or ()
    simple = len(steps) == 1 and steps[0].times == 1 and trigger.unless is None and not trigger.per
    return steps[0] if simple and trigger.after_match != "once" else None
