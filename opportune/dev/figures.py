"""A measurement and its floor, and how to time work."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Figure(NamedTuple):
    """A measurement beside its floor, in the same unit."""

    name: str
    value: float
    floor_name: str
    floor: float
    unit: str

    @property
    def ratio(self) -> float:
        """The measurement divided by its floor."""
        return self.value / self.floor


def time_seconds(work: Callable[[], None]) -> float:
    """Return how long *work* takes, in seconds of real time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
