"""The functions' clock: the wall clock, or one that runs faster from a given time."""

import pytest

from shared import clock
from shared.settings import DECIDER, SETTINGS, Settings
from tests.unit.shared.test_settings import COMPLETE

HOUR_MS = 3_600_000


def test_it_runs_faster_since_its_start() -> None:
    """An hour after its start, a clock with speed 60 shows 60 hours more."""
    start = clock.now_ms() - HOUR_MS
    fast = clock.parse_clock(f"{start},60")
    before, told, after = clock.now_ms(), fast(), clock.now_ms()
    assert start + (before - start) * 60 <= told <= start + (after - start) * 60
    assert isinstance(told, int)


def test_it_agrees_with_the_wall_clock_at_speed_one() -> None:
    """Speed 1 is the wall clock, wherever it starts."""
    slow = clock.parse_clock("1,1")
    before, told, after = clock.now_ms(), slow(), clock.now_ms()
    assert before <= told <= after


def test_all_who_read_the_same_text_have_the_same_time() -> None:
    """Two functions with the same setting agree, whenever they started."""
    text = f"{clock.now_ms() - HOUR_MS},2.5"
    first, second = clock.parse_clock(text), clock.parse_clock(text)
    earliest, middle, latest = first(), second(), first()
    assert earliest <= middle <= latest


@pytest.mark.parametrize("text", ["", "60", "1,", ",60", "0,60", "-5,60", "1,0", "1,-1", "soon,60", "1,60,2"])
def test_what_is_no_clock_is_refused(text: str) -> None:
    """Only a start and a speed, both greater than 0, are valid."""
    with pytest.raises(ValueError, match=r".+"):
        clock.parse_clock(text)


def test_a_function_without_the_setting_has_the_wall_clock() -> None:
    """The variable is for the local stack and tests: it may be missing or empty."""
    needed = {s.name: COMPLETE[s.name] for s in SETTINGS if DECIDER in s.used_by and s.default is None}
    for given in ({}, {"OPPORTUNE_CLOCK": ""}):
        assert Settings.from_env({**needed, **given}, DECIDER).clock is clock.now_ms
    start = clock.now_ms() - HOUR_MS
    fast = Settings.from_env({**needed, "OPPORTUNE_CLOCK": f"{start},60"}, DECIDER).clock
    assert fast() >= start + 60 * HOUR_MS
