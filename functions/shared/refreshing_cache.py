"""A value that is looked up again in the background, so that busy requests never wait for it.

    request ──▶ get() ── nearly `every_s` old?          ──▶ starts one thread, returns what it has
                     ── older than three times that?   ──▶ looks it up first: nobody has asked for a while
                     ── of the future?                 ──▶ looks it up first: the clock was wrong then, or is now
                     ── never looked up?               ──▶ looks it up first: there is nothing to return

On Lambda a background thread sleeps with its environment and goes on, or fails, at the next request;
either way the next look-up puts it right. An environment that has slept for an hour must not decide by
what was true an hour ago, so its first request waits.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.clock import Clock
from shared.errors import OpportuneError

T = TypeVar("T")

TOO_OLD = 3
THREAD = "look-up"
AHEAD = 0.8  # of the interval: begun then, a look-up has come before the value is older than the interval


class RefreshingCache(Generic[T]):
    """The result of *load*, at most about *every_s* seconds old under steady traffic.

    *load* gets the present value, or ``None`` at first. *on_error* is told of failures; the present value
    then stays, and the next try comes after *every_s* again.
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
        """Return the value; what *load* raises comes through only where there is no value yet."""
        if self._value is None:
            return self.reload()
        age = self._clock() - self._checked
        if age < 0 or age >= TOO_OLD * self._every_ms:
            return self.renewed(self._value)
        if age >= AHEAD * self._every_ms and self._busy.acquire(blocking=False):
            threading.Thread(target=self._refresh, name=THREAD, daemon=True).start()
        return self._value

    def renewed(self, value: T) -> T:
        """Return what has come after *value*; look it up now if nobody has since `every_s`."""
        self._renew(self._every_ms)
        return value if self._value is None else self._value

    def no_older_than(self, age_ms: int) -> T:
        """Return the value; look it up now, in the caller's time, if that was longer ago."""
        if self._value is None:
            return self.reload()
        self._renew(age_ms)
        return self._value

    def _renew(self, age_ms: int) -> None:
        if 0 <= self._clock() - self._checked < age_ms:
            return
        self._busy.acquire()
        if 0 <= self._clock() - self._checked < age_ms:  # somebody else was faster
            self._busy.release()
        else:
            self._refresh()

    def reload(self) -> T:
        """Load the value now, in the caller's time."""
        with self._busy:
            begun = self._clock()
            self._value = self._load(self._value)
            self._checked = begun
            return self._value

    def _refresh(self) -> None:
        """Load the value; the lock is held, and released here, maybe in another thread than it was taken in."""
        begun = self._clock()
        try:
            self._value = self._load(self._value)
        except OpportuneError as error:
            self._on_error(error)
        finally:
            # As old as its beginning: the environment may have slept for an hour in between.
            self._checked = begun
            self._busy.release()
