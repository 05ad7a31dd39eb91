"""Compile everything about a campaign but its trigger: when, how often and with what it reaches a customer.

The site's settings are resolved here, so that a compiled campaign has everything the functions need.
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from definitions.compiler.trigger import canonical
from definitions.model.campaign import Campaign
from definitions.model.content import Content
from definitions.model.fields import Definition
from definitions.model.popup import PopupContent
from definitions.model.site import Site
from definitions.model.times import DAYS, QuietHours, moment
from definitions.model.trigger import Matcher
from shared import ruleset as compiled
from shared.identities import Identity, IdentityKey


def content(written: Content) -> dict[str, Any]:
    """Return *written* as the Engager renders it, without the fields that were left out."""
    if isinstance(written, PopupContent):
        return written.compiled()
    return written.model_dump(mode="json", exclude_none=True)


def schedule(campaign: Campaign, site: Site | None) -> compiled.Schedule | None:
    """Return when *campaign* may activate.

    With ``timezone: user``, days and hours are the customer's. ``from`` and ``to`` are the site's, because a
    campaign begins and ends for all customers at the same instant.
    """
    written = campaign.schedule
    if written is None:
        return None
    zone = _zone(written.timezone, site)
    dates = ZoneInfo(_zone("site", site) if zone == "user" else zone)
    start, stop = written.minutes
    return compiled.Schedule(
        zone=zone,
        begin=_ms(moment(written.from_), dates) if written.from_ else None,
        end=_ms(moment(written.to, end=True), dates) if written.to else None,
        days=[] if set(written.days) == set(DAYS) else sorted({DAYS.index(day) for day in written.days}),
        start=start,
        stop=stop,
    )


def limits(campaign: Campaign) -> compiled.Limits | None:
    """Return how often a customer may activate *campaign*."""
    written = campaign.limits
    if written is None:
        return None
    most = compiled.Quota(max=written.max.times, per=written.max.per) if written.max else None
    return compiled.Limits(again_after=written.again_after or 0, max=most)


def watchers(campaign: Campaign) -> list[compiled.Matcher]:
    """Return the matchers that apply after a match, each once, with the bits of all its meanings."""
    found: dict[str, compiled.Matcher] = {}
    for matchers, bit in ((campaign.cancel_on, compiled.CANCEL), ([campaign.goal], compiled.GOAL)):
        for matcher in filter(None, matchers):
            one = _matcher(matcher)
            found.setdefault(canonical([one.events, one.where]), one).bits |= bit
    return list(found.values())


def quiet_hours(campaign: Campaign, site: Site | None) -> compiled.QuietHours | None:
    """Return the quiet hours of *campaign*: its own, or the site's if they apply to it."""
    written = campaign.quiet_hours
    hours: QuietHours | None
    if isinstance(written, QuietHours):
        hours, then = written, written.then
    else:
        hours = site.quiet_hours if site is not None else None
        if hours is None or written == "ignore":
            return None
        if written is None and campaign.channel not in hours.channels:
            return None
        then = written or hours.then
    start, stop = hours.minutes
    return compiled.QuietHours(
        start=start, stop=stop, zone=_zone(hours.timezone, site), fallback=hours.fallback or "", drop=then == "drop"
    )


def caps(site: Site) -> dict[str, compiled.Quota]:
    """Return how much a customer may get from all campaigns of *site*, per channel and in total."""
    return {name: compiled.Quota(max=cap.max, per=cap.per) for name, cap in given(site.caps).items()}


def identity(site: Site) -> Identity:
    """Return how the users of *site* prove who they are."""
    written = site.identity
    if written is None:
        return Identity()
    keys = [IdentityKey(each.id, each.algorithm, each.public_key or "") for each in written.keys]
    return Identity(keys, list(written.traits), written.visitor_cookie or "")


def events_per_user(site: Site) -> compiled.Quota | None:
    """Return how many events *site* accepts from one user."""
    if site.limits is None:
        return None
    return compiled.Quota(max=site.limits.events_per_user.max, per=site.limits.events_per_user.per)


def given(per_channel: Definition | None) -> dict[str, Any]:
    """Return the fields of *per_channel* that have a value."""
    fields = () if per_channel is None else tuple(per_channel)
    return {name: value for name, value in fields if value is not None}


def _matcher(matcher: Matcher) -> compiled.Matcher:
    return compiled.Matcher(events=sorted(set(matcher.event)), where=dict(matcher.where), bits=0)


def _zone(written: str, site: Site | None) -> str:
    if written != "site":
        return written
    return site.timezone if site is not None else "UTC"


def _ms(local: datetime, zone: ZoneInfo) -> int:
    return int(local.replace(tzinfo=zone).timestamp() * 1000)
