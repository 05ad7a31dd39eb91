"""What the story is told with: who sends, who looks, and a line of its table."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from opportune.events.send import Endpoint
from opportune.local.accepted import Channel

MINUTE = 60.0
LEDGER_WAIT_S = 20.0


class Observer(Protocol):
    """Where the story looks for what does not come back in an answer."""

    speed: float  # of the clock of the functions

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]: ...
    def arrived(self, channel: Channel, to: str) -> int: ...
    def settle(self) -> None: ...


@dataclass
class Result:
    """One line of the story's table."""

    title: str
    sent: str
    expected: str
    came: str
    round_trip_ms: float
    passed: bool


@dataclass
class Teller:
    """Sends events as a site would, and remembers the last round trip.

    *patient*: as trackers do, it sends again what the endpoint has no time for, under the same message id.
    """

    browser: Endpoint
    server: Endpoint
    patient: bool = False
    round_trips: list[float] = field(default_factory=list)

    def track(
        self, user: str, event: str, *, ago: float = 0.0, message_id: str = "", **properties: Any
    ) -> list[dict[str, Any]]:
        """Track one event that happened *ago* seconds ago; return the popups of the answer."""
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
        """Send wins of the past, at those *minutes* of an hour that is over, as a server would."""
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
        post = endpoint.post_until_taken if self.patient else endpoint.post
        answer, elapsed = post(path, body)
        self.round_trips.append(elapsed)
        return answer


def count(things: list[Any], what: str) -> str:
    """Return how many *things* there are, in words."""
    return number(len(things), what)


def titles(popups: list[dict[str, Any]]) -> str:
    """Return what *popups* say."""
    return (
        "nothing"
        if not popups
        else "popup “" + popups[0]["title"] + "”" + (f" ×{len(popups)}" if len(popups) > 1 else "")
    )


def number(number: int, what: str) -> str:
    """Return a number of something, in words."""
    return "nothing" if not number else f"{number} {what}" + ("s" if number > 1 else "")


def wait_for(what: Callable[[], Any]) -> Any:
    """Return what *what* returns as soon as it is anything, or after a while all the same."""
    deadline = time.monotonic() + LEDGER_WAIT_S
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found
