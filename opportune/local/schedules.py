"""What EventBridge's schedules do: invoke a function again and again."""

import threading
from collections.abc import Callable
from typing import Any


class Schedule:
    """Invoke with *payload* every *every_s* seconds, one call at a time, until stopped.

    A failed call is the function's to log; the next one comes all the same, as on AWS.
    """

    def __init__(self, invoke: Callable[[bytes], Any], payload: bytes, *, every_s: float) -> None:
        self._invoke = invoke
        self._payload = payload
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ring, name="schedule", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; does not wait for a call under way. May be called twice."""
        self._stopping.set()

    def _ring(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._invoke(self._payload)
