"""What the cases are written with: a client that sends events, an observer, and a line of the result."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from opportune.events.send import Endpoint
from shared.channels import Outbound

MINUTE = 60.0
LEDGER_WAIT_S = 20.0


class Observer(Protocol):
    """Sees what the endpoint does not return: matches and delivered messages."""

    speed: float  # how many times as fast as the wall clock the functions' clock runs

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]: ...
    def arrived(self, channel: Outbound, to: str) -> int: ...
    def settle(self) -> None: ...


@dataclass
class Result:
    """The outcome of one case.

    title: what the case is about
    sent: the events, for people
    expected, actual: the outcome that is expected, and the actual one
    round_trip_ms: of the last request
    """

    title: str
    sent: str
    expected: str
    actual: str
    round_trip_ms: float
    passed: bool


@dataclass
class TrackingClient:
    """Sends events as a site does, and records how long each request took.

    browser, server: the endpoint with a public and with a secret write key
    retry_busy: retry a request that is answered with 503 under the same message id, as trackers do
    """

    browser: Endpoint
    server: Endpoint
    retry_busy: bool = False
    round_trips: list[float] = field(default_factory=list)

    def track(
        self, user: str, event: str, *, ago: float = 0.0, message_id: str = "", **properties: Any
    ) -> list[dict[str, Any]]:
        """Send one event that happened *ago* seconds ago; return the popups in the response."""
        now = datetime.now(UTC)
        answer = self._post(
            self.browser,
            "/v1/track",
            {
                "userId": user,
                "event": event,
                "messageId": message_id or uuid.uuid4().hex,
                "properties": properties,
                "timestamp": (now - timedelta(seconds=ago)).isoformat(),
                "sentAt": now.isoformat(),
            },
        )
        messages: list[dict[str, Any]] = answer["messages"]
        return messages

    def history(self, user: str, minutes: list[float]) -> None:
        """Send wins as history, as a server does: at those *minutes* after the start of 2026."""
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        batch = [
            {
                "type": "track",
                "userId": user,
                "event": "game_result",
                "messageId": f"{user}-{minute}",
                "properties": {"outcome": "win"},
                "timestamp": (begin + timedelta(minutes=minute)).isoformat(),
                "context": {"opportune": {"history": True}},
            }
            for minute in minutes
        ]
        self._post(self.server, "/v1/batch", {"batch": batch})

    def _post(self, endpoint: Endpoint, path: str, body: dict[str, Any]) -> dict[str, Any]:
        post = endpoint.post_until_taken if self.retry_busy else endpoint.post
        answer, elapsed = post(path, body)
        self.round_trips.append(elapsed)
        return answer


def count(things: list[Any], what: str) -> str:
    """Return how many *things* there are, such as ``2 matches``."""
    return number(len(things), what)


def titles(popups: list[dict[str, Any]]) -> str:
    """Return the title of the first of *popups*, and how many there are."""
    return (
        "nothing"
        if not popups
        else "popup “" + popups[0]["title"] + "”" + (f" ×{len(popups)}" if len(popups) > 1 else "")
    )


def number(number: int, what: str) -> str:
    """Return *number* with its noun, such as ``2 mails``; ``nothing`` for 0."""
    if not number:
        return "nothing"
    plural = "es" if what.endswith("ch") else "s"
    return f"{number} {what}{plural if number > 1 else ''}"


def wait_for(probe: Callable[[], Any]) -> Any:
    """Return the first true result of *probe*, or its last one after 20 seconds."""
    deadline = time.monotonic() + LEDGER_WAIT_S
    while not (found := probe()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
