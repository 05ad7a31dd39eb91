"""Send recorded events to a running endpoint, in order for each user, several users at a time."""

import base64
import queue
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import urllib3

from opportune.events.recorded import HISTORY, Call
from shared.errors import OpportuneError, Unavailable

Message = dict[str, Any]

BATCH = 100
BATCH_BYTES = 400_000  # below the endpoint's limit of 500 KB
RETRIED = (429, 503)
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)
QUEUED_BATCHES = 8
CLOCK_FIELDS = ("sentAt", "originalTimestamp", "receivedAt")  # of the clock that wrote the file


class SendFailed(OpportuneError):
    """The endpoint refused a request, or could not be reached."""

    code = "send_failed"


@dataclass
class SendReport:
    """The result of sending: counts, and the round trips of the requests in ms.

    ``rejected``: by code. ``warnings``: about accepted events, by code and message.
    """

    events: int = 0
    requests: int = 0
    messages: int = 0
    seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)
    round_trips_ms: list[float] = field(default_factory=list)

    def add(self, events: int, answer: Mapping[str, Any], round_trip_ms: float) -> None:
        """Count one request with its *answer*."""
        self.events += events
        self.requests += 1
        self.messages += len(answer.get("messages", []))
        self.rejected.update(item["code"] for item in answer.get("rejected", []))
        self.warnings.update((item["code"], item["message"]) for item in answer.get("warnings", []))
        self.round_trips_ms.append(round_trip_ms)

    def percentile(self, share: float) -> float:
        """Return a percentile of the round trips in ms; 0 without requests."""
        ordered = sorted(self.round_trips_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Busy(Unavailable):
    """The endpoint cannot accept a request now (429, 503, or no answer)."""

    code = "busy"


class Endpoint:
    """A tracking endpoint with its write key."""

    def __init__(self, url: str, key: str, *, timeout_s: float = 15.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode(),
        }
        self._pool = urllib3.PoolManager(maxsize=32, retries=False, timeout=timeout_s)

    def post(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """Post *body*; return the answer and the round trip in ms.

        Raises `Busy` if a retry may help, `SendFailed` on any other status than 200.
        """
        started = time.perf_counter()
        try:
            response = self._pool.request(
                "POST", self._url + path, body=msgspec.json.encode(body), headers=self._headers
            )
        except urllib3.exceptions.HTTPError as error:
            raise Busy(f"{self._url} cannot be reached: {type(error).__name__}", code="unreachable") from error
        elapsed = (time.perf_counter() - started) * 1000
        try:
            answer: dict[str, Any] = msgspec.json.decode(response.data, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise SendFailed(f"{self._url}{path} answered {response.status} without JSON") from error
        # API Gateway's own errors have no code.
        reason = " ".join(filter(None, (str(response.status), answer.get("code")))) + f": {answer.get('message')}"
        if response.status in RETRIED:
            raise Busy(reason)
        if response.status != 200:
            raise SendFailed(reason, code="refused")
        return answer, elapsed

    def post_until_taken(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """Post *body*; retry with the same message ids while the endpoint is busy, as trackers do."""
        for pause_s in PAUSES_S:
            try:
                return self.post(path, body)
            except Busy:
                time.sleep(pause_s)
        return self.post(path, body)


def message(call: Call, *, history: bool) -> dict[str, Any]:
    """Return *call* with its own time and message id, as the clock of this machine would send it."""
    item = {name: value for name, value in call.item.items() if name not in CLOCK_FIELDS}
    body: dict[str, Any] = {"type": "track", **item, "messageId": call.message.message_id}
    if call.message.at:
        body["timestamp"] = datetime.fromtimestamp(call.message.at / 1000, UTC).isoformat(timespec="milliseconds")
    if history:
        context = body.get("context")
        body["context"] = {**(context if isinstance(context, dict) else {}), **HISTORY}
    return body


def send(
    calls: Iterable[Call],
    endpoint: Endpoint,
    *,
    history: bool,
    concurrency: int = 4,
    rate: float | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> SendReport:
    """Post *calls* in batches. All calls of a user go through one lane, which keeps their order.

    A login is posted after all earlier calls of the visitor; later ones go through the lane of the user.
    *rate*: calls a second; ``None``: as fast as possible.
    Raises the first failure of a lane.
    """
    sent = SendReport()
    lanes = _Lanes(endpoint, sent, concurrency, progress)
    started = time.perf_counter()
    try:
        for count, call in enumerate(calls):
            login = call.recorded
            if login is not None and login.visitor:
                lanes.join(login.visitor, login.user)
            lanes.put(call.message.user, message(call, history=history))
            if rate is not None:
                time.sleep(max(0.0, started + count / rate - time.perf_counter()))
            if lanes.failures:
                break
    finally:
        lanes.close()
    sent.seconds = time.perf_counter() - started
    if lanes.failures:
        raise lanes.failures[0]
    return sent


class _Lanes:
    """Threads that post batches, each for its own users."""

    def __init__(self, endpoint: Endpoint, sent: SendReport, count: int, progress: Callable[[int], None]) -> None:
        self.failures: list[OpportuneError] = []
        self._endpoint = endpoint
        self._sent = sent
        self._progress = progress
        self._lock = threading.Lock()
        self._pending: list[list[Message]] = [[] for _ in range(count)]
        self._bytes = [0] * count
        self._queues: list[queue.Queue[list[Message] | None]] = [queue.Queue(QUEUED_BATCHES) for _ in range(count)]
        self._moved: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._work, args=(q,), daemon=True) for q in self._queues]
        for thread in self._threads:
            thread.start()

    def put(self, user: str, message: Message) -> None:
        """Add a message to the lane of *user*. Wait while that lane is full."""
        lane = self._find(user)
        size = len(msgspec.json.encode(message))
        if len(self._pending[lane]) >= BATCH or self._bytes[lane] + size > BATCH_BYTES:
            self._flush(lane)
        self._pending[lane].append(message)
        self._bytes[lane] += size

    def join(self, visitor: str, user: str) -> None:
        """Post what waits of *visitor*; from now on the visitor uses the lane of *user*."""
        before, lane = self._find(visitor), self._find(user)
        if before != lane:
            if self._pending[before]:
                self._flush(before)
            self._queues[before].join()
            self._moved[visitor] = lane

    def _find(self, user: str) -> int:
        lane = self._moved.get(user)
        return zlib.crc32(user.encode()) % len(self._queues) if lane is None else lane

    def _flush(self, lane: int) -> None:
        self._queues[lane].put(self._pending[lane])
        self._pending[lane], self._bytes[lane] = [], 0

    def close(self) -> None:
        """Post the remaining messages and wait for all lanes."""
        for batches, rest in zip(self._queues, self._pending, strict=True):
            if rest:
                batches.put(rest)
            batches.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, batches: "queue.Queue[list[Message] | None]") -> None:
        while (batch := batches.get()) is not None:
            if not self.failures:  # keep draining, or `put` would block on a lane that has failed
                self._post(batch)
            batches.task_done()

    def _post(self, batch: list[Message]) -> None:
        body = {"batch": batch, "sentAt": datetime.now(UTC).isoformat()}
        try:
            answer, elapsed = self._endpoint.post_until_taken("/v1/batch", body)
        except OpportuneError as error:
            self.failures.append(error)
            return
        with self._lock:
            self._sent.add(len(batch), answer, elapsed)
            self._progress(len(batch))
