"""Ring doorbells by the clock that the tests move: those of schedules, and those that the queue delays."""

import json
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from tests.support.faults.points import DELAYED

if TYPE_CHECKING:
    from tests.support.faults.system import Lab

EVERY_S = 0.3


class Bells:
    """A context manager; rings in the background."""

    def __init__(self, lab: "Lab") -> None:
        self._lab = lab
        self._read = 0
        self._delayed: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rung = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def pending(self) -> int:
        """Return how many doorbells have not rung."""
        with self._lock:
            self._read_delayed()
            return len(self._delayed) + len(self._lab.scheduler.schedules)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            with self._lock, suppress(BotoCoreError, ClientError):  # what could not be sent is sent next time
                self._read_delayed()
                self._ring()

    def _ring(self) -> None:
        now, schedules = self._lab.now(), self._lab.scheduler.schedules
        for name, schedule in list(schedules.items()):
            if _due(schedule.expression) <= now:
                for _ in range(2 if schedule.mode == "duplicate" else 1):
                    self._send(schedule.input)
                schedules.pop(name, None)
        for bell in [each for each in self._delayed if each[0] <= now]:
            self._send(bell[1])
            self._delayed.remove(bell)

    def _send(self, body: str) -> None:
        self._lab.sqs.send_message(QueueUrl=self._lab.stack.doorbells_url, MessageBody=body)
        self.rung += 1

    def _read_delayed(self) -> None:
        file = self._lab.points / DELAYED
        if not file.exists():
            return
        with file.open("rb") as lines:
            lines.seek(self._read)
            whole = lines.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        self._delayed += [(int(due), str(body)) for due, body in map(json.loads, whole.splitlines())]


def _due(expression: str) -> int:
    """Return the time in ms that a schedule names."""
    at = datetime.strptime(expression, "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)
