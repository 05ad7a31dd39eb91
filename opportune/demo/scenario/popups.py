"""Cases about popups and about history, which is matched but not delivered."""

import uuid
from typing import Any

from opportune.demo.scenario.model import MINUTE, Observer, Result, TrackingClient, count, titles


def three_wins(client: TrackingClient, _: Observer, run: str) -> Result:
    """Win three times in a row as a VIP: a popup."""
    first, second, third = _games(client, f"anna-{run}", "WWW")
    passed = not first and not second and len(third) == 1 and third[0]["campaign"] == "three-wins"
    return Result(
        "a VIP wins three times",
        "win, win, win",
        "popup with the third win",
        titles(first + second + third),
        client.round_trips[-1],
        passed,
    )


def no_target(client: TrackingClient, _: Observer, run: str) -> Result:
    """Win three times outside of the target group: no popup."""
    popups = [popup for answer in _games(client, f"bob-{run}", "WWW") for popup in answer]
    return Result(
        "a player outside the target group",
        "win, win, win",
        "nothing",
        titles(popups),
        client.round_trips[-1],
        not popups,
    )


def broken_run(client: TrackingClient, _: Observer, run: str) -> Result:
    """Lose between the wins: no popup, because they are not in a row."""
    popups = [popup for answer in _games(client, f"carol-{run}", "WWLW") for popup in answer]
    return Result(
        "a loss in between",
        "win, win, loss, win",
        "nothing",
        titles(popups),
        client.round_trips[-1],
        not popups,
    )


def too_slow(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Take eleven minutes for three wins: no match."""
    user = f"dave-{run}"
    client.history(user, [0, 5, 11])
    observer.settle()
    matches = observer.matches(user, "three-wins")
    return Result(
        "history: three wins in eleven minutes",
        "win 0:00, 5:00, 11:00",
        "nothing",
        count(matches, "match"),
        client.round_trips[-1],
        not matches,
    )


def in_time(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Take nine minutes for three wins, as history: a match that is not delivered."""
    user = f"erin-{run}"
    client.history(user, [0, 5, 9])
    observer.settle()
    matches = observer.matches(user, "three-wins")
    passed = len(matches) == 1 and (matches[0]["state"], matches[0]["reason"]) == ("suppressed", "history")
    return Result(
        "history: three wins in nine minutes",
        "win 0:00, 5:00, 9:00",
        "1 match, not delivered",
        f"{count(matches, 'match')}, not delivered" if passed else count(matches, "match"),
        client.round_trips[-1],
        passed,
    )


def sent_twice(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Repeat the third win with its message id: it counts once and returns the same popup."""
    user, third = f"frank-{run}", uuid.uuid4().hex
    client.track(user, "game_result", ago=2 * MINUTE, outcome="win")
    client.track(user, "game_result", ago=MINUTE, outcome="win")
    first = client.track(user, "game_result", message_id=third, outcome="win")
    second = client.track(user, "game_result", message_id=third, outcome="win")
    again = client.track(user, "game_result", outcome="win")
    matches = observer.matches(user, "three-wins")
    passed = len(first) == 1 and first == second and not again and len(matches) == 1
    actual = f"{count(matches, 'match')}, {'the same popup' if first == second else 'different responses'}"
    return Result(
        "the third win sent twice",
        "win, win, win ×2, win",
        "1 match, the same popup",
        actual,
        client.round_trips[-1],
        passed,
    )


def _games(client: TrackingClient, user: str, outcomes: str) -> list[list[dict[str, Any]]]:
    """Send game results a minute apart, the last one now; return the popups in each response."""
    return [
        client.track(
            user,
            "game_result",
            ago=(len(outcomes) - 1 - place) * MINUTE,
            outcome="win" if letter == "W" else "loss",
        )
        for place, letter in enumerate(outcomes)
    ]
