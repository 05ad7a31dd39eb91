"""The demo story: what a newcomer sees happen, sent through the public endpoint and checked."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from opportune.send import Endpoint

MINUTE = 60.0
LEDGER_WAIT_S = 20.0


class Witness(Protocol):
    """Where the story looks for what does not come back in an answer."""

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]: ...
    def mails(self, address: str) -> list[dict[str, Any]]: ...
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
class _Teller:
    """Sends events as a site would, and remembers the last round trip."""

    browser: Endpoint
    server: Endpoint
    round_trips: list[float] = field(default_factory=list)

    def track(
        self, user: str, event: str, *, ago: float = 0.0, message_id: str = "", **properties: Any
    ) -> list[dict[str, Any]]:
        """Track one event that happened *ago* seconds ago; return the popups of the answer."""
        now = datetime.now(UTC)
        answer, elapsed = self.browser.post(
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
        self.round_trips.append(elapsed)
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
        _, elapsed = self.server.post("/v1/batch", {"batch": batch})
        self.round_trips.append(elapsed)


def _count(things: list[Any], what: str) -> str:
    return "nothing" if not things else f"{len(things)} {what}" + ("s" if len(things) > 1 else "")


def _titles(popups: list[dict[str, Any]]) -> str:
    return (
        "nothing"
        if not popups
        else "popup “" + popups[0]["title"] + "”" + (f" ×{len(popups)}" if len(popups) > 1 else "")
    )


def tell(browser: Endpoint, server: Endpoint, witness: Witness, run: str) -> Iterator[Result]:
    """Play the story and yield its results one by one. *run* makes users of repeated stories distinct."""
    teller = _Teller(browser, server)
    chapters: list[Callable[[_Teller, Witness, str], Result]] = [
        _three_wins,
        _no_target,
        _broken_run,
        _too_slow,
        _in_time,
        _sent_twice,
        _thank_you_mail,
    ]
    for chapter in chapters:
        yield chapter(teller, witness, run)


def customers(run: str) -> list[dict[str, Any]]:
    """Return the customers that the story needs, in the shape of an import."""
    vips = ["anna", "carol", "dave", "erin", "frank", "grace"]
    return [
        {
            "user_id": f"{name}-{run}",
            "first_name": name.title(),
            "tier": "vip",
            "email": f"{name}-{run}@player.example",
        }
        for name in vips
    ] + [{"user_id": f"bob-{run}", "first_name": "Bob", "tier": "basic", "email": f"bob-{run}@player.example"}]


def _games(teller: _Teller, user: str, outcomes: str) -> list[list[dict[str, Any]]]:
    """Send game results a minute apart, the last one now; return the popups of each answer."""
    return [
        teller.track(
            user,
            "game_result",
            ago=(len(outcomes) - 1 - place) * MINUTE,
            outcome="win" if letter == "W" else "loss",
        )
        for place, letter in enumerate(outcomes)
    ]


def _three_wins(teller: _Teller, _: Witness, run: str) -> Result:
    first, second, third = _games(teller, f"anna-{run}", "WWW")
    passed = not first and not second and len(third) == 1 and third[0]["campaign"] == "three-wins"
    return Result(
        "a VIP wins three times",
        "win, win, win",
        "popup in the third answer",
        _titles(first + second + third),
        teller.round_trips[-1],
        passed,
    )


def _no_target(teller: _Teller, _: Witness, run: str) -> Result:
    popups = [popup for answer in _games(teller, f"bob-{run}", "WWW") for popup in answer]
    return Result(
        "a player outside the target group",
        "win, win, win",
        "nothing",
        _titles(popups),
        teller.round_trips[-1],
        not popups,
    )


def _broken_run(teller: _Teller, _: Witness, run: str) -> Result:
    popups = [popup for answer in _games(teller, f"carol-{run}", "WWLW") for popup in answer]
    return Result(
        "a loss in between",
        "win, win, loss, win",
        "nothing",
        _titles(popups),
        teller.round_trips[-1],
        not popups,
    )


def _too_slow(teller: _Teller, witness: Witness, run: str) -> Result:
    user = f"dave-{run}"
    teller.history(user, [0, 5, 11])
    witness.settle()
    matches = witness.matches(user, "three-wins")
    return Result(
        "three wins in eleven minutes (history)",
        "win 0:00, 5:00, 11:00",
        "nothing",
        _count(matches, "match"),
        teller.round_trips[-1],
        not matches,
    )


def _in_time(teller: _Teller, witness: Witness, run: str) -> Result:
    user = f"erin-{run}"
    teller.history(user, [0, 5, 9])
    witness.settle()
    matches = witness.matches(user, "three-wins")
    passed = len(matches) == 1 and (matches[0]["state"], matches[0]["reason"]) == ("suppressed", "history")
    return Result(
        "three wins in nine minutes (history)",
        "win 0:00, 5:00, 9:00",
        "1 match, not delivered",
        _count(matches, "match"),
        teller.round_trips[-1],
        passed,
    )


def _sent_twice(teller: _Teller, witness: Witness, run: str) -> Result:
    user, third = f"frank-{run}", uuid.uuid4().hex
    teller.track(user, "game_result", ago=2 * MINUTE, outcome="win")
    teller.track(user, "game_result", ago=MINUTE, outcome="win")
    first = teller.track(user, "game_result", message_id=third, outcome="win")
    second = teller.track(user, "game_result", message_id=third, outcome="win")
    again = teller.track(user, "game_result", outcome="win")
    matches = witness.matches(user, "three-wins")
    passed = len(first) == 1 and first == second and not again and len(matches) == 1
    came = f"{_count(matches, 'match')}, answers {'equal' if first == second else 'different'}"
    return Result(
        "the third win sent twice",
        "win, win, win ×2, win",
        "1 match, the same popup in both answers",
        came,
        teller.round_trips[-1],
        passed,
    )


def _thank_you_mail(teller: _Teller, witness: Witness, run: str) -> Result:
    user, second = f"grace-{run}", uuid.uuid4().hex
    popups = teller.track(user, "deposit", ago=MINUTE, amount=20)
    for _ in range(2):
        popups += teller.track(user, "deposit", message_id=second, amount=30)
    trip = teller.round_trips[-1]
    witness.settle()
    mails = witness.mails(f"{user}@player.example")
    deadline = time.monotonic() + LEDGER_WAIT_S
    while not mails and time.monotonic() < deadline:
        time.sleep(0.1)
        mails = witness.mails(f"{user}@player.example")
    return Result(
        "a campaign by e-mail",
        "deposit, deposit ×2",
        "1 mail",
        _count(mails, "mail"),
        trip,
        len(mails) == 1 and not popups,
    )
