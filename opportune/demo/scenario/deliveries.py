"""Cases about delivery: e-mails, text messages, webhooks, delays, and the gates that stop messages."""

import itertools
import time
import uuid
from typing import Any

from decider.policy import is_held_out
from opportune.demo.scenario.customers import customers
from opportune.demo.scenario.model import MINUTE, Observer, Result, TrackingClient, number, wait_for

REMINDER_S = 5.0
SPIN_HOLDOUT = 1000  # in 10,000, as in campaigns/demo


def thank_you_mail(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Deposit twice and repeat the second deposit: one e-mail."""
    user, second = f"grace-{run}", uuid.uuid4().hex
    popups = client.track(user, "deposit", ago=MINUTE, amount=20)
    for _ in range(2):
        popups += client.track(user, "deposit", message_id=second, amount=30)
    trip = client.round_trips[-1]
    observer.settle()
    mails = wait_for(lambda: observer.arrived("email", f"{user}@player.example"))
    return Result(
        "an e-mail for a second deposit",
        "deposit, deposit ×2",
        "1 e-mail",
        number(mails, "e-mail"),
        trip,
        mails == 1 and not popups,
    )


def reminder(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Fill a cart and do not order: an e-mail after the delay."""
    user = f"heidi-{run}"
    begun = time.monotonic()
    client.track(user, "cart_filled", item="A deck of cards")
    mails = wait_for(lambda: observer.arrived("email", f"{user}@player.example"))
    waited = (time.monotonic() - begun) * observer.speed
    return Result(
        "a cart without an order",
        "cart_filled",
        "1 e-mail, 5 s later",
        f"{number(mails, 'e-mail')}, {waited:.1f} s later",
        client.round_trips[-1],
        mails == 1 and waited >= REMINDER_S,
    )


def reminder_cancelled(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Order before the delay is over: no e-mail, and the ledger says why."""
    user = f"ivan-{run}"
    client.track(user, "cart_filled", item="Dice")
    client.track(user, "order_placed")
    matches = wait_for(lambda: observer.matches(user, "cart-reminder"))
    return _stopped("an order cancels the reminder", "cart_filled, order_placed", matches, "cancelled", client)


def capped(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Match three times within a minute with a cap of two: the third match is suppressed."""
    user = _spinner(run, held_out=False)
    popups = [len(client.track(user, "wheel_spun")) for _ in range(3)]
    matches = [each for each in observer.matches(user, "lucky-spin") if each["state"] != "sent"]
    result = _stopped("three matches within a minute", "wheel_spun ×3", matches, "cap", client)
    result.expected, result.actual = "2 popups, then not delivered: cap", f"{sum(popups)} popups, then {result.actual}"
    result.passed = result.passed and popups == [1, 1, 0]
    return result


def held_out(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Match as a user of the holdout: nothing is delivered."""
    user = _spinner(run, held_out=True)
    popups = client.track(user, "wheel_spun")
    result = _stopped("a user of the holdout", "wheel_spun", observer.matches(user, "lucky-spin"), "holdout", client)
    result.passed = result.passed and not popups
    return result


def congratulations(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Win the jackpot: a text message."""
    client.track(f"leo-{run}", "jackpot_won", amount=5000)
    phone = next(each["phone"] for each in customers(run) if each["user_id"] == f"leo-{run}")
    texts = wait_for(lambda: observer.arrived("sms", phone))
    trip = client.round_trips[-1]
    return Result(
        "a text message for a jackpot", "jackpot_won", "1 text message", number(texts, "text message"), trip, texts == 1
    )


def webhook(client: TrackingClient, observer: Observer, run: str) -> Result:
    """Deposit a large amount: a signed webhook."""
    user = f"mona-{run}"
    client.track(user, "deposit", amount=2000)
    calls = wait_for(lambda: observer.arrived("webhook", user))
    trip = client.round_trips[-1]
    return Result(
        "a webhook for a large deposit", "deposit of 2,000", "1 webhook", number(calls, "webhook"), trip, calls == 1
    )


def _spinner(run: str, *, held_out: bool) -> str:
    """Return a user inside or outside the holdout of the campaign `lucky-spin`."""
    names = (f"{'kim' if held_out else 'judy'}{number}-{run}" for number in itertools.count())
    return next(name for name in names if is_held_out("demo", "lucky-spin", SPIN_HOLDOUT, name) is held_out)


def _stopped(title: str, sent: str, matches: list[dict[str, Any]], gate: str, client: TrackingClient) -> Result:
    """Return the result of a case in which *gate* has to stop the match."""
    reasons = [str(match.get("reason")) for match in matches]
    actual = f"not delivered: {', '.join(reasons)}" if reasons else "nothing"
    return Result(title, sent, f"not delivered: {gate}", actual, client.round_trips[-1], reasons == [gate])
