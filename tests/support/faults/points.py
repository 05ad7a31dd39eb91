"""Instruments of the functions under test: points where they can be killed, and a clock that can be moved.

Both are files in a folder, so that a test can reach into another process.
"""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from shared.clock import now_ms

FOLDER = "FAULTS_FOLDER"
REACHED, CLOCK, DELAYED = "reached", "clock", "delayed"
Handler = Callable[[dict[str, Any], Any], Any]


class Points:
    """The points of one *function*. An armed point kills the first process that reaches it."""

    def __init__(self, folder: Path, function: str) -> None:
        self._folder = folder
        self._function = function

    def reach(self, name: str) -> None:
        """Die here if the point is armed. Of several processes, only one dies."""
        if self.claim(name):
            os.kill(os.getpid(), signal.SIGKILL)

    def claim(self, name: str) -> bool:
        """Return whether the point is armed, and disarm it."""
        point = f"{self._function}.{name}"
        try:
            (self._folder / point).unlink()
        except FileNotFoundError:
            return False
        with (self._folder / REACHED).open("a", encoding="utf-8") as file:
            file.write(point + "\n")
        return True

    def around(self, handler: Handler, concerns: Callable[[dict[str, Any]], bool]) -> Handler:
        """Return *handler* with points after its work, for the requests that *concerns* accepts.

        ``before_reply`` kills, ``failing_reply`` raises, ``spoiled_reply`` returns what no queue can read.
        """

        def handle(event: dict[str, Any], context: Any) -> Any:
            answer = handler(event, context)
            if not concerns(event):
                return answer
            self.reach("before_reply")
            if self.claim("failing_reply"):
                raise RuntimeError("the work is done, but the caller gets no response")
            return {"batchItemFailures": [{"itemIdentifier": ""}]} if self.claim("spoiled_reply") else answer

        return handle


class Tripwire:
    """Wraps *inner*: calls of the named methods pass ``before_<method>`` and ``after_<method>``."""

    def __init__(self, inner: Any, points: Points, *methods: str) -> None:
        self._inner = inner
        self._points = points
        self._watched = methods

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._watched:
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            self._points.reach(f"before_{name}")
            result = method(*arguments, **named)
            self._points.reach(f"after_{name}")
            return result

        return call


def arm(folder: Path, point: str) -> None:
    """Kill the next process that reaches *point* (``function.name``)."""
    (folder / point).touch()


def disarm(folder: Path) -> None:
    """Disarm all points that no process has reached."""
    for file in folder.iterdir():
        if file.name.partition(".")[0] not in (REACHED, CLOCK, DELAYED):
            file.unlink(missing_ok=True)


def reached(folder: Path) -> list[str]:
    """Return the points at which a process has died, in order."""
    file = folder / REACHED
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def move(folder: Path, ms: int, function: str = "") -> None:
    """Move the clocks ahead: all of them, or in addition that of one function's host."""
    name = f"{CLOCK}.{function}" if function else CLOCK
    fresh = folder / f"{CLOCK}-new"
    fresh.write_text(str(ms), encoding="utf-8")
    fresh.replace(folder / name)


def ahead(folder: Path, function: str = "") -> int:
    """Return how many ms the clocks are ahead."""
    total = 0
    for name in {CLOCK, f"{CLOCK}.{function}" if function else CLOCK}:
        file = folder / name
        total += int(file.read_text(encoding="utf-8")) if file.exists() else 0
    return total


def moved_clock(folder: Path, function: str) -> Callable[[], int]:
    """Return the clock of *function*'s host."""
    return lambda: now_ms() + ahead(folder, function)


def folder_of(env: Mapping[str, str]) -> Path:
    """Return the folder that the test has set."""
    return Path(env[FOLDER])
