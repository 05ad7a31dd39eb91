"""Popups, and what is only recorded."""

import uuid
from typing import Any

from opportune.demo.scenario.model import MINUTE, Observer, Result, Teller, count, titles


def three_wins(teller: Teller, _: Observer, run: str) -> Result:
    """Win three times in a row: a popup."""
    first, second, third = _games(teller, f"anna-{run}", "WWW")
    passed = not first and not second and len(third) == 1 and third[0]["campaign"] == "three-wins"
    return Result(
        "a VIP wins three times",
        "win, win, win",
        "popup in the third answer",
        titles(first + second + third),
        teller.round_trips[-1],
        passed,
    )


def no_target(teller: Teller, _: Observer, run: str) -> Result:
    """Let somebody win whom no campaign is for."""
    popups = [popup for answer in _games(teller, f"bob-{run}", "WWW") for popup in answer]
    return Result(
        "a player outside the target group",
        "win, win, win",
        "nothing",
        titles(popups),
        teller.round_trips[-1],
        not popups,
    )


def broken_run(teller: Teller, _: Observer, run: str) -> Result:
    """Lose between the wins: no three in a row."""
    popups = [popup for answer in _games(teller, f"carol-{run}", "WWLW") for popup in answer]
    return Result(
        "a loss in between",
        "win, win, loss, win",
        "nothing",
        titles(popups),
        teller.round_trips[-1],
        not popups,
    )


def too_slow(teller: Teller, witness: Observer, run: str) -> Result:
    """Take eleven minutes for three wins: nothing."""
    user = f"dave-{run}"
    teller.history(user, [0, 5, 11])
    witness.settle()
    matches = witness.matches(user, "three-wins")
    return Result(
        "three wins in eleven minutes (history)",
        "win 0:00, 5:00, 11:00",
        "nothing",
        count(matches, "match"),
        teller.round_trips[-1],
        not matches,
    )


def in_time(teller: Teller, witness: Observer, run: str) -> Result:
    """Win in nine minutes, as history: matched, and not delivered."""
    user = f"erin-{run}"
    teller.history(user, [0, 5, 9])
    witness.settle()
    matches = witness.matches(user, "three-wins")
    passed = len(matches) == 1 and (matches[0]["state"], matches[0]["reason"]) == ("suppressed", "history")
    return Result(
        "three wins in nine minutes (history)",
        "win 0:00, 5:00, 9:00",
        "1 match, not delivered",
        count(matches, "match"),
        teller.round_trips[-1],
        passed,
    )


def sent_twice(teller: Teller, witness: Observer, run: str) -> Result:
    """Repeat a message: it counts once, and has the same answer."""
    user, third = f"frank-{run}", uuid.uuid4().hex
    teller.track(user, "game_result", ago=2 * MINUTE, outcome="win")
    teller.track(user, "game_result", ago=MINUTE, outcome="win")
    first = teller.track(user, "game_result", message_id=third, outcome="win")
    second = teller.track(user, "game_result", message_id=third, outcome="win")
    again = teller.track(user, "game_result", outcome="win")
    matches = witness.matches(user, "three-wins")
    passed = len(first) == 1 and first == second and not again and len(matches) == 1
    came = f"{count(matches, 'match')}, answers {'equal' if first == second else 'different'}"
    return Result(
        "the third win sent twice",
        "win, win, win ×2, win",
        "1 match, the same popup in both answers",
        came,
        teller.round_trips[-1],
        passed,
    )


def _games(teller: Teller, user: str, outcomes: str) -> list[list[dict[str, Any]]]:
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
