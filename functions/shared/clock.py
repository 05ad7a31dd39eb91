"""The clock port: milliseconds since the Unix epoch, UTC."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
MAX_AHEAD_MS = 60_000  # two clocks may differ by this; a time further ahead is of a clock that is wrong


def now_ms() -> int:
    """Return the wall clock in whole milliseconds."""
    return time.time_ns() // 1_000_000


def parse_clock(text: str) -> Clock:
    """Return the clock for ``START_MS,SPEED``: the wall clock until START_MS, and SPEED times as fast after it."""
    start_text, speed_text = text.split(",")
    start, speed = int(start_text), float(speed_text)
    if start <= 0 or speed <= 0:
        raise ValueError("must be greater than 0")
    return lambda: int(start + (now_ms() - start) * speed)
