"""Quiet hours on real clocks, also on days with a change to or from daylight saving time."""

from datetime import UTC, datetime
from typing import Any

import pytest

from engager.gates import MINUTE_MS, GateInput, Hold, Stop, check_message, quiet_until, zone_of
from engager.ledger.states import State
from shared.contracts import Activation
from shared.ruleset import Campaign, QuietHours, Trigger

NIGHT = QuietHours(start=22 * 60, stop=8 * 60, zone="user")
EARLY = QuietHours(start=60, stop=150, zone="user")  # 01:00 to 02:30


def ms(text: str) -> int:
    """Return a UTC time in ms."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("quiet", "zone", "now", "end"),
    [
        # An ordinary night, in summer: 22:00 to 08:00 in Vienna is 20:00 to 06:00 UTC.
        (NIGHT, "Europe/Vienna", "2026-07-01T19:59:59.999", None),
        (NIGHT, "Europe/Vienna", "2026-07-01T20:00", "2026-07-02T06:00"),
        (NIGHT, "Europe/Vienna", "2026-07-02T05:59:59.999", "2026-07-02T06:00"),
        (NIGHT, "Europe/Vienna", "2026-07-02T06:00", None),
        # The night of 2026-03-29 is an hour shorter, that of 2026-10-25 an hour longer.
        (NIGHT, "Europe/Vienna", "2026-03-28T21:00", "2026-03-29T06:00"),
        (NIGHT, "Europe/Vienna", "2026-10-24T20:00", "2026-10-25T07:00"),
        (NIGHT, "America/New_York", "2026-03-08T03:00", "2026-03-08T12:00"),
        # 02:30 is skipped on 2026-03-29: at 01:00 UTC the clocks show 03:00.
        (EARLY, "Europe/Vienna", "2026-03-29T00:30", "2026-03-29T01:00"),
        # On 2026-10-25 it comes twice: first at 00:30 UTC, and from 01:00 UTC it is 02:00 again.
        (EARLY, "Europe/Vienna", "2026-10-25T00:10", "2026-10-25T00:30"),
        (EARLY, "Europe/Vienna", "2026-10-25T00:45", None),
        (EARLY, "Europe/Vienna", "2026-10-25T01:10", "2026-10-25T01:30"),
        # Lord Howe moves its clocks by half an hour at 15:00 UTC: 02:00 becomes 01:30.
        (EARLY, "Australia/Lord_Howe", "2026-04-04T14:30", "2026-04-04T16:00"),
        (EARLY, "Asia/Kathmandu", "2026-01-01T20:00", "2026-01-01T20:45"),
    ],
)
def test_quiet_hours_end_at_an_exact_instant(quiet: QuietHours, zone: str, now: str, end: str | None) -> None:
    """The end is the first minute that is not quiet; `None` if it is not quiet now."""
    assert quiet_until(quiet, ms(now), zone) == (ms(end) if end else None)


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
def test_the_end_is_not_quiet_and_everything_before_it_is(zone: str) -> None:
    """Throughout a year, an activation is held exactly until the end of its stretch of quiet hours."""
    first = ms("2026-01-01T00:00")
    for hours in range(0, 365 * 24, 7):
        now = first + hours * 60 * MINUTE_MS
        end = quiet_until(NIGHT, now, zone)
        if end is not None:
            assert quiet_until(NIGHT, end, zone) is None
            assert quiet_until(NIGHT, end - 1, zone) == end
            assert end - now <= 11 * 60 * MINUTE_MS


@pytest.mark.parametrize(
    "value", [None, "", 7, ["UTC"], "Europe/Atlantis", "../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000, "\ud800"]
)
def test_an_invalid_zone_is_unknown(value: Any) -> None:
    """A customer's attributes may hold anything."""
    assert zone_of("user", {"timezone": value}) is None


def given(customer: dict[str, Any], quiet: QuietHours, now: str = "2026-07-01T22:00") -> GateInput:
    """Return the input for a campaign with quiet hours."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    at = ms(now)
    activation = Activation("a1", "demo", "ada", "mail", 1, "email", at, "Order", "m1")
    campaign = Campaign("mail", "1", "Mail", trigger, "email", {}, quiet_hours=quiet)
    return GateInput(at, activation, campaign, at, customer)


def quiet(**changes: Any) -> QuietHours:
    """Return quiet hours at night."""
    values: dict[str, Any] = {"start": 22 * 60, "stop": 8 * 60, "zone": "user", **changes}
    return QuietHours(**values)


@pytest.mark.parametrize(
    ("customer", "zone", "fallback", "end"),
    [
        ({"timezone": "America/New_York"}, "user", "Europe/Vienna", None),  # 18:00 there
        ({"timezone": "Nowhere"}, "user", "Europe/Vienna", "2026-07-02T06:00"),
        ({}, "user", "Europe/Vienna", "2026-07-02T06:00"),
        ({"timezone": "America/New_York"}, "Europe/Vienna", "", "2026-07-02T06:00"),
    ],
)
def test_the_fallback_is_for_customers_whose_zone_is_unknown(
    customer: dict[str, Any], zone: str, fallback: str, end: str | None
) -> None:
    """The customer's own zone comes first; a fixed zone of the site applies to all."""
    verdict = check_message(given(customer, quiet(zone=zone, fallback=fallback)))
    if end is None:
        assert not isinstance(verdict, Hold | Stop)
    else:
        assert verdict == Hold("quiet_hours", ms(end), ms(end))


@pytest.mark.parametrize("customer", [{}, {"timezone": "Europe/Vienna"}])
def test_quiet_hours_may_drop(customer: dict[str, Any]) -> None:
    """They also drop if the zone is unknown, because an unknown zone counts as quiet."""
    verdict = check_message(given(customer, quiet(drop=True)))
    assert verdict == Stop(State.SUPPRESSED, "quiet_hours")
