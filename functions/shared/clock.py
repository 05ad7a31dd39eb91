"""The clock port: milliseconds since the Unix epoch, UTC."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    """Return the wall clock in whole milliseconds."""
    return time.time_ns() // 1_000_000
