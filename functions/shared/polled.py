"""A value that is looked up again in the background, so that no request ever waits for it.

    request ──▶ get() ── older than `every_s`? ──▶ starts one thread, returns what it has
                                 first time? ──▶ waits: there is nothing to return yet

On Lambda a background thread sleeps with its environment and goes on, or fails, at the next request;
either way the next look-up puts it right.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.clock import Clock
from shared.errors import OpportuneError

T = TypeVar("T")


class Polled(Generic[T]):
    """The result of *load*, at most about *every_s* seconds old under steady traffic.

    *load* gets the present value, or ``None`` at first. *on_error* is told of failures in the background;
    the present value then stays, and the next try comes after *every_s* again.
    """

    def __init__(
        self,
        load: Callable[[T | None], T],
        *,
        every_s: int,
        clock: Clock,
        on_error: Callable[[OpportuneError], None],
    ) -> None:
        self._load = load
        self._every_ms = every_s * 1000
        self._clock = clock
        self._on_error = on_error
        self._value: T | None = None
        self._checked = 0
        self._busy = threading.Lock()

    def get(self) -> T:
        """Return the present value; load it first where there is none, raising what *load* raises."""
        if self._value is None:
            return self.reload()
        if self._clock() - self._checked >= self._every_ms and self._busy.acquire(blocking=False):
            threading.Thread(target=self._refresh, daemon=True).start()
        return self._value

    def reload(self) -> T:
        """Load the value now, in the caller's time."""
        with self._busy:
            self._value = self._load(self._value)
            self._checked = self._clock()
            return self._value

    def _refresh(self) -> None:
        try:
            self._value = self._load(self._value)
        except OpportuneError as error:
            self._on_error(error)
        finally:
            self._checked = self._clock()
            self._busy.release()
