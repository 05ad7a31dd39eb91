"""Values that are refreshed in the background: when a caller waits, and when not."""

import threading
import time
from collections.abc import Iterator

import pytest

from shared.errors import OpportuneError, Unavailable
from shared.refreshing_cache import RefreshingCache


class Source:
    """Counts its loads. ``broken``: loads fail. ``gate``: loads wait for it."""

    def __init__(self) -> None:
        self.asked = 0
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, present: int | None) -> int:
        """Return the number of loads."""
        assert present is None or present > 0
        self.gate.wait(5)
        self.asked += 1
        if self.broken:
            raise Unavailable("away")
        return self.asked


@pytest.fixture(name="source")
def _source() -> Iterator[Source]:
    source = Source()
    yield source
    source.gate.set()


class Time:
    """A clock that a test sets."""

    now = 0

    def __call__(self) -> int:
        """Return ms."""
        return self.now


def polled(source: Source, clock: Time, errors: list[OpportuneError] | None = None) -> RefreshingCache[int]:
    """Return a cache that is refreshed every ten seconds."""
    return RefreshingCache(source, every_s=10, clock=clock, on_error=(errors if errors is not None else []).append)


def settle(source: Source, times: int) -> None:
    """Wait until the source was loaded *times* times in all."""
    deadline = time.monotonic() + 5
    while source.asked < times:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.01)


def test_the_first_caller_waits_and_later_ones_do_not_ask(source: Source) -> None:
    """Calls within the interval cause one load."""
    value = polled(source, Time())
    assert [value.get() for _ in range(5)] == [1] * 5
    assert source.asked == 1


def test_an_old_value_is_returned_while_one_thread_looks(source: Source) -> None:
    """No caller waits for a slow refresh, and only one runs at a time."""
    clock = Time()
    value = polled(source, clock)
    value.get()
    clock.now = 9_999
    source.gate.clear()
    assert [value.get() for _ in range(20)] == [1] * 20
    source.gate.set()
    settle(source, 2)
    assert (value.get(), source.asked) == (2, 2)


@pytest.mark.parametrize("idle", [10_000, 10_001, 15_000, 29_000, 30_000, 3_600_000])
def test_a_value_that_nobody_asked_for_in_long_is_looked_up_first(source: Source, idle: int) -> None:
    """After a time without traffic, all callers wait for one refresh."""
    clock = Time()
    value = polled(source, clock)
    value.get()
    clock.now = idle
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(value.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results, source.asked) == ([2] * 8, 2)


@pytest.mark.parametrize("gap", [10_500, 12_000, 25_000])
def test_in_a_quiet_function_no_value_is_older_than_the_interval(source: Source, gap: int) -> None:
    """One request now and then: each gets a value of that moment, not that of the request before."""
    clock = Time()
    value = polled(source, clock)
    for request in range(5):
        clock.now = request * gap
        assert value.get() == request + 1


def test_a_slow_refresh_does_not_stop_busy_requests(source: Source) -> None:
    """A request that finds one under way waits for a moment only, unless the value is much too old."""
    clock = Time()
    value = polled(source, clock)
    value.get()
    clock.now = 9_000
    source.gate.clear()
    value.get()  # begins the refresh
    clock.now = 12_000
    begun = time.monotonic()
    assert value.get() == 1
    assert time.monotonic() - begun < 2
    source.gate.set()
    settle(source, 2)
    assert (value.get(), source.asked) == (2, 2)


def test_a_failure_keeps_the_value_and_is_told(source: Source) -> None:
    """This holds in the background and in the foreground. The next attempt follows after the interval."""
    clock, errors = Time(), list[OpportuneError]()
    value = polled(source, clock, errors)
    value.get()
    source.broken = True
    clock.now = 60_000
    assert (value.get(), value.get(), source.asked, len(errors)) == (1, 1, 2, 1)
    clock.now = 70_000
    assert value.get() == 1
    settle(source, 3)
    source.broken = False
    clock.now = 200_000
    assert value.get() == 4


def test_without_any_value_the_failure_comes_through(source: Source) -> None:
    """Without a value there is nothing to return."""
    source.broken = True
    with pytest.raises(Unavailable):
        polled(source, Time()).get()


def test_renewed_looks_at_most_once_an_interval(source: Source) -> None:
    """Callers that ask for a fresh value cause at most one load per interval."""
    clock = Time()
    value = polled(source, clock)
    value.get()
    assert [value.get_fresh() for _ in range(9)] == [1] * 9
    clock.now = 10_000
    assert [value.get_fresh() for _ in range(9)] == [2] * 9
    assert source.asked == 2


def test_a_look_up_begins_before_the_value_is_too_old(source: Source) -> None:
    """It starts after eight of ten seconds, and no caller waits."""
    clock = Time()
    value = polled(source, clock)
    value.get()
    clock.now = 7_999
    assert (value.get(), source.asked) == (1, 1)
    clock.now = 8_000
    source.gate.clear()
    assert value.get() == 1
    source.gate.set()
    settle(source, 2)
    assert value.get() == 2


def test_who_needs_a_fresh_value_waits_for_it(source: Source) -> None:
    """Callers wait at most once per maximum age. A failure keeps the old value."""
    clock, errors = Time(), list[OpportuneError]()
    value = polled(source, clock, errors)
    assert [value.get_fresh(1000) for _ in range(3)] == [1] * 3
    clock.now = 1000
    assert [value.get_fresh(1000) for _ in range(3)] == [2] * 3
    clock.now, source.broken = 2000, True
    assert (value.get_fresh(1000), len(errors)) == (2, 1)


def test_a_clock_that_is_put_back_makes_nothing_last(source: Source) -> None:
    """A value loaded an hour ahead is loaded again; otherwise a pause would go unnoticed for that hour."""
    clock = Time()
    clock.now = 3_600_000
    value = polled(source, clock)
    assert value.get() == 1
    clock.now = 0
    assert value.get() == 2
    assert value.get() == 2
    clock.now = -1
    assert value.get_fresh() == 3
