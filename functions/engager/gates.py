"""The Engager's gates, checked just before a delivery. The first closed gate gives the reason.

    paused ─▶ max_lateness ─▶ schedule ─▶ opt_out ─▶ consent ─▶ recheck ─▶ quiet_hours

Pure functions of a `GateInput`. No gate fails open: an unknown time zone counts as quiet.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engager.ledger.states import State
from shared.context import timezone_of
from shared.contracts import Activation
from shared.hours import is_open, time_zone
from shared.ruleset import Campaign, QuietHours

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MAX_QUIET_MINUTES = 2 * 24 * 60
PAUSED_RETRY_MS = MINUTE_MS
UNKNOWN_ZONE_RETRY_MS = HOUR_MS


class GateInput(NamedTuple):
    """What the gates know of one activation.

    ``now``: ms.
    ``campaign``: as it is live now; for a popup, as it was at the match.
    ``expected_at``: ms, when it should have been delivered; its lateness counts from here.
    ``consent``: the customer's attribute that must be true.
    ``is_target``: whether the user is a target now; only looked up for delayed activations.
    """

    now: int
    activation: Activation
    campaign: Campaign
    expected_at: int
    customer: Mapping[str, Any]
    paused: bool = False
    opted_out: bool = False
    consent: str | None = None
    is_target: bool = True


class Pass(NamedTuple):
    """Every gate is open."""


class Hold(NamedTuple):
    """Not now: check again at ``until`` (ms). From then on, lateness counts from ``expected_at`` (ms)."""

    reason: str
    until: int
    expected_at: int


class Stop(NamedTuple):
    """Never: the ledger gets this state and reason."""

    state: State
    reason: str


Verdict = Pass | Hold | Stop
PASS = Pass()


def check_message(given: GateInput) -> Verdict:
    """Return the verdict on an activation of an outbound channel."""
    for gate in MESSAGE_GATES:
        verdict = gate(given)
        if verdict is not None:
            return verdict
    return PASS


def check_popup(given: GateInput) -> Pass | Stop:
    """Return the verdict on a popup. Popups cannot be held, and customers cannot opt out of them."""
    if given.paused:
        return Stop(State.SUPPRESSED, "paused")
    if _schedule(given):
        return Stop(State.SUPPRESSED, "schedule")
    if _quiet_hours(given):
        return Stop(State.SUPPRESSED, "quiet_hours")
    return PASS


def _paused(given: GateInput) -> Verdict | None:
    return Hold("paused", given.now + PAUSED_RETRY_MS, given.expected_at) if given.paused else None


def _lateness(given: GateInput) -> Verdict | None:
    is_late = given.now - given.expected_at > given.campaign.max_lateness
    return Stop(State.DROPPED_LATE, "max_lateness") if is_late else None


def _schedule(given: GateInput) -> Verdict | None:
    schedule = given.campaign.schedule
    if schedule is None or schedule.zone != "user":
        return None  # the Decider checked schedules of all other zones
    zone = zone_of("user", given.customer)
    # A schedule restricts matches, so it is checked at the time of the match, however late the delivery is.
    open_ = zone is not None and is_open(schedule, given.activation.at, zone)
    return None if open_ else Stop(State.SUPPRESSED, "schedule")


def _opt_out(given: GateInput) -> Verdict | None:
    return Stop(State.SUPPRESSED, "opt_out") if given.opted_out else None


def _consent(given: GateInput) -> Verdict | None:
    if given.consent is None:
        return None
    value: Any = given.customer
    for part in given.consent.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if value is True else Stop(State.SUPPRESSED, "consent")


def _recheck(given: GateInput) -> Verdict | None:
    return None if given.is_target else Stop(State.SUPPRESSED, "recheck")


def _quiet_hours(given: GateInput) -> Verdict | None:
    quiet = given.campaign.quiet_hours
    if quiet is None:
        return None
    zone = zone_of(quiet.zone, given.customer) or zone_of(quiet.fallback, given.customer)
    end = quiet_until(quiet, given.now, zone) if zone is not None else None
    if zone is not None and end is None:
        return None
    if quiet.drop:
        return Stop(State.SUPPRESSED, "quiet_hours")
    if end is not None:
        return Hold("quiet_hours", end, end)
    # The zone is unknown. A day after the due time, quiet hours have ended in every zone. Lateness counts from there.
    due = given.activation.due or given.activation.at
    return Hold("quiet_hours", given.now + UNKNOWN_ZONE_RETRY_MS, max(given.expected_at, due + DAY_MS))


MESSAGE_GATES: tuple[Callable[[GateInput], Verdict | None], ...] = (
    _paused,
    _lateness,
    _schedule,
    _opt_out,
    _consent,
    _recheck,
    _quiet_hours,
)


def with_zone(customer: Mapping[str, Any], activation: Activation) -> Mapping[str, Any]:
    """Return *customer*. If the zone is unknown, it is that of the device that has sent the event."""
    device = timezone_of(activation.attributes)
    if device is None or zone_of("user", customer) is not None:
        return customer
    zone = zone_of("user", {"timezone": device})
    return customer if zone is None else {**customer, "timezone": zone}


def zone_of(name: str, customer: Mapping[str, Any]) -> str | None:
    """Return the zone *name*, or the customer's own if *name* is ``user``; ``None`` if there is no such zone."""
    zone = customer.get("timezone") if name == "user" else name
    if not isinstance(zone, str) or not zone:
        return None
    try:
        time_zone(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return zone


def quiet_until(quiet: QuietHours, now: int, zone: str) -> int | None:
    """Return when (ms) the quiet hours around *now* end in *zone*; ``None`` if *now* is not quiet.

    The end is the first minute whose local time is not quiet. So it is also right on days on which the clocks skip that
    minute or show it twice.
    """
    place = time_zone(zone)
    if not _is_quiet(quiet, now, place):
        return None
    minute = now // MINUTE_MS
    for later in range(minute + 1, minute + MAX_QUIET_MINUTES):
        if not _is_quiet(quiet, later * MINUTE_MS, place):
            return later * MINUTE_MS
    return now + HOUR_MS  # quiet all day, which no definition can express


def _is_quiet(quiet: QuietHours, now: int, place: ZoneInfo) -> bool:
    local = datetime.fromtimestamp(now / 1000, place)
    minute = local.hour * 60 + local.minute
    if quiet.start < quiet.stop:
        return quiet.start <= minute < quiet.stop
    return minute >= quiet.start or minute < quiet.stop
