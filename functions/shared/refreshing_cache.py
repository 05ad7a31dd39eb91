"""A cached value that is refreshed in the background, so that busy requests never wait for it.

    request ──▶ get() ── the value is nearly `every_s` old    ──▶ start one thread, return the cached value
                     ── it is older than `every_s`           ──▶ refresh first: there was no traffic for a while
                     ── its age is negative                  ──▶ refresh first: the clock was set back
                     ── nothing is loaded yet                ──▶ load first

On Lambda, a background thread pauses with its environment. At the next request it continues or fails, and the next
refresh corrects that. A request that finds a refresh under way waits a moment for it. Only a value that is much too old
makes it wait until the end, so a slow database does not stop busy requests.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.clock import Clock
from shared.errors import OpportuneError

T = TypeVar("T")

TOO_OLD = 3  # intervals
PATIENCE_S = 0.2  # for a refresh that another request began
THREAD = "refresh"
REFRESH_AT = 0.8  # of the interval, so that the refresh ends before the value is older than the interval


class RefreshingCache(Generic[T]):
    """The result of *load*. It is at most about *every_s* seconds old.

    load: gets the cached value, or ``None`` the first time.
    on_error: called when a refresh fails. The cached value stays, and the next refresh follows after *every_s*.
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
        self._loaded_at = 0
        self._busy = threading.Lock()

    def get(self) -> T:
        """Return the value; refresh it in the background if it is due. Raises only if there is no value yet."""
        if self._value is None:
            return self.reload()
        age = self._clock() - self._loaded_at
        if age < 0 or age >= TOO_OLD * self._every_ms:
            return self.get_fresh()
        if age >= self._every_ms:
            if not self._busy.acquire(timeout=PATIENCE_S):
                return self._value
            if self._is_fresh(self._every_ms):
                self._busy.release()
            else:
                self._refresh()
        elif age >= REFRESH_AT * self._every_ms and self._busy.acquire(blocking=False):
            threading.Thread(target=self._refresh, name=THREAD, daemon=True).start()
        return self._value

    def get_fresh(self, max_age_ms: int | None = None) -> T:
        """Return the value; if it is older than *max_age_ms* (default: the interval), refresh it first."""
        if self._value is None:
            return self.reload()
        limit = self._every_ms if max_age_ms is None else max_age_ms
        if not self._is_fresh(limit):
            self._busy.acquire()
            if self._is_fresh(limit):  # another thread was faster
                self._busy.release()
            else:
                self._refresh()
        return self._value

    def reload(self) -> T:
        """Load the value now and return it; raise if that fails."""
        with self._busy:
            started = self._clock()
            self._value = self._load(self._value)
            self._loaded_at = started
            return self._value

    def _is_fresh(self, max_age_ms: int) -> bool:
        return 0 <= self._clock() - self._loaded_at < max_age_ms

    def _refresh(self) -> None:
        """Load the value and release the lock, which another thread may have acquired."""
        started = self._clock()
        try:
            self._value = self._load(self._value)
        except OpportuneError as error:
            self._on_error(error)
        finally:
            # The age counts from the start, because the environment may have been paused during the load.
            self._loaded_at = started
            self._busy.release()
