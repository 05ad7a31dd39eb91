"""The gates before a delivery, at the last moment and in this order: the first that closes gives the reason.

    paused ─▶ max_lateness ─▶ schedule ─▶ opt_out ─▶ consent ─▶ recheck ─▶ quiet_hours

Pure: all that they have to know is in a `Case`. Nothing here fails open: a zone that nobody knows is no zone in
which something may be sent.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engager.ledger.states import State
from shared.contracts import Activation
from shared.hours import is_open, time_zone
from shared.ruleset import Campaign, QuietHours

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
LONGEST_DAY_MINUTES = 2 * 24 * 60
LOOK_AGAIN_PAUSED_MS = MINUTE_MS
LOOK_AGAIN_ZONE_MS = HOUR_MS


class Case(NamedTuple):
    """What the gates have to know of one activation.

    ``since``: ms, from when it counts as late. ``consent``: the attribute that must be true. ``is_target``: as of
    now, asked of delayed ones only.
    """

    now: int
    activation: Activation
    campaign: Campaign
    since: int
    customer: Mapping[str, Any]
    paused: bool = False
    opted_out: bool = False
    consent: str | None = None
    is_target: bool = True


class Send(NamedTuple):
    """Every gate is open."""


class Hold(NamedTuple):
    """Not now: look again at ``until`` (ms); ``since``: ms, from when it counts as late then."""

    reason: str
    until: int
    since: int


class Stop(NamedTuple):
    """Never: the ledger gets this state and reason."""

    state: State
    reason: str


Verdict = Send | Hold | Stop
SEND = Send()


def judge(case: Case) -> Verdict:
    """Return what is to be done with an activation whose channel leads out of the house."""
    for gate in OUTWARD:
        verdict = gate(case)
        if verdict is not None:
            return verdict
    return SEND


def judge_popup(case: Case) -> Send | Stop:
    """Return what is to be done with a popup: nothing of it can wait, and nobody can opt out of it."""
    if case.paused:
        return Stop(State.SUPPRESSED, "paused")
    if _schedule(case):
        return Stop(State.SUPPRESSED, "schedule")
    if _quiet_hours(case):
        return Stop(State.SUPPRESSED, "quiet_hours")
    return SEND


def _paused(case: Case) -> Verdict | None:
    return Hold("paused", case.now + LOOK_AGAIN_PAUSED_MS, case.since) if case.paused else None


def _lateness(case: Case) -> Verdict | None:
    late = case.now - case.since > case.campaign.max_lateness
    return Stop(State.DROPPED_LATE, "max_lateness") if late else None


def _schedule(case: Case) -> Verdict | None:
    schedule = case.campaign.schedule
    if schedule is None or schedule.zone != "user":
        return None  # all other zones were the Decider's to judge
    zone = zone_of("user", case.customer)
    # As everywhere, the schedule is about the match: what was delayed or held since then is not outside it.
    open_ = zone is not None and is_open(schedule, case.activation.at, zone)
    return None if open_ else Stop(State.SUPPRESSED, "schedule")


def _opt_out(case: Case) -> Verdict | None:
    return Stop(State.SUPPRESSED, "opt_out") if case.opted_out else None


def _consent(case: Case) -> Verdict | None:
    if case.consent is None:
        return None
    value: Any = case.customer
    for part in case.consent.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is True else Stop(State.SUPPRESSED, "consent")


def _recheck(case: Case) -> Verdict | None:
    return None if case.is_target else Stop(State.SUPPRESSED, "recheck")


def _quiet_hours(case: Case) -> Verdict | None:
    quiet = case.campaign.quiet_hours
    if quiet is None:
        return None
    zone = zone_of(quiet.zone, case.customer) or zone_of(quiet.fallback, case.customer)
    end = quiet_until(quiet, case.now, zone) if zone is not None else None
    if zone is not None and end is None:
        return None
    if quiet.drop:
        return Stop(State.SUPPRESSED, "quiet_hours")
    if end is not None:
        return Hold("quiet_hours", end, end)
    # Where it is now, nobody knows; a day after it was due, even its longest quiet hours are over.
    due = case.activation.due or case.activation.at
    return Hold("quiet_hours", case.now + LOOK_AGAIN_ZONE_MS, max(case.since, due + DAY_MS))


OUTWARD: tuple[Callable[[Case], Verdict | None], ...] = (
    _paused,
    _lateness,
    _schedule,
    _opt_out,
    _consent,
    _recheck,
    _quiet_hours,
)


def zone_of(name: str, customer: Mapping[str, Any]) -> str | None:
    """Return the zone *name*, or the customer's own where it is ``user``; ``None`` where there is no such zone."""
    zone = customer.get("timezone") if name == "user" else name
    if not isinstance(zone, str) or not zone:
        return None
    try:
        time_zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return zone


def quiet_until(quiet: QuietHours, now: int, zone: str) -> int | None:
    """Return when (ms) the quiet hours that *now* lies in end, on the clocks of *zone*; ``None``: it lies in none.

    The end is the first instant at which these clocks no longer show a quiet minute: so it is right too on days
    on which they skip that minute, or show it twice.
    """
    place = time_zone(zone)
    if not _is_quiet(quiet, now, place):
        return None
    minute = now // MINUTE_MS
    for later in range(minute + 1, minute + LONGEST_DAY_MINUTES):
        if not _is_quiet(quiet, later * MINUTE_MS, place):
            return later * MINUTE_MS
    return now + HOUR_MS  # quiet all day, which no definition can say


def _is_quiet(quiet: QuietHours, now: int, place: ZoneInfo) -> bool:
    local = datetime.fromtimestamp(now / 1000, place)
    minute = local.hour * 60 + local.minute
    if quiet.start < quiet.stop:
        return quiet.start <= minute < quiet.stop
    return minute >= quiet.start or minute < quiet.stop
