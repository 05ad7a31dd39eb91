"""From match to delivery: e-mails, texts and webhooks, delays, and what stops them."""

import itertools
import time
import uuid
from typing import Any

from decider.policy import is_held_out
from opportune.demo.scenario.customers import customers
from opportune.demo.scenario.model import MINUTE, Observer, Result, Teller, number, wait_for

REMINDER_S = 5.0
SPIN_HOLDOUT = 1000  # in 10,000, as campaigns/demo says


def thank_you_mail(teller: Teller, witness: Observer, run: str) -> Result:
    """Deposit twice: an e-mail, once."""
    user, second = f"grace-{run}", uuid.uuid4().hex
    popups = teller.track(user, "deposit", ago=MINUTE, amount=20)
    for _ in range(2):
        popups += teller.track(user, "deposit", message_id=second, amount=30)
    trip = teller.round_trips[-1]
    witness.settle()
    mails = wait_for(lambda: witness.arrived("email", f"{user}@player.example"))
    return Result(
        "a campaign by e-mail",
        "deposit, deposit ×2",
        "1 mail",
        number(mails, "mail"),
        trip,
        mails == 1 and not popups,
    )


def reminder(teller: Teller, witness: Observer, run: str) -> Result:
    """Fill a cart that nobody orders: a mail after its delay."""
    user = f"heidi-{run}"
    begun = time.monotonic()
    teller.track(user, "cart_filled", item="A deck of cards")
    mails = wait_for(lambda: witness.arrived("email", f"{user}@player.example"))
    waited = (time.monotonic() - begun) * witness.speed
    return Result(
        "a cart, and no order",
        "cart_filled",
        "1 mail, 5 s later",
        f"{number(mails, 'mail')}, {waited:.1f} s later",
        teller.round_trips[-1],
        mails == 1 and waited >= REMINDER_S,
    )


def reminder_cancelled(teller: Teller, witness: Observer, run: str) -> Result:
    """Order in time: no mail, and a record of why."""
    user = f"ivan-{run}"
    teller.track(user, "cart_filled", item="Dice")
    teller.track(user, "order_placed")
    matches = wait_for(lambda: witness.matches(user, "cart-reminder"))
    return _stopped("an order cancels the reminder", "cart_filled, order_placed", matches, "cancelled", teller)


def capped(teller: Teller, witness: Observer, run: str) -> Result:
    """Earn three popups where two a minute are the cap: the third is recorded."""
    user = _spinner(run, held_out=False)
    popups = [len(teller.track(user, "wheel_spun")) for _ in range(3)]
    matches = [each for each in witness.matches(user, "lucky-spin") if each["state"] != "sent"]
    result = _stopped("three popups within a minute", "wheel_spun ×3", matches, "cap", teller)
    result.expected, result.came = "2 popups, then: cap", f"{sum(popups)} popups, then: {result.came}"
    result.passed = result.passed and popups == [1, 1, 0]
    return result


def held_out(teller: Teller, witness: Observer, run: str) -> Result:
    """Give a user of the holdout nothing, for comparison."""
    user = _spinner(run, held_out=True)
    popups = teller.track(user, "wheel_spun")
    result = _stopped("one of the holdout", "wheel_spun", witness.matches(user, "lucky-spin"), "holdout", teller)
    result.passed = result.passed and not popups
    return result


def congratulations(teller: Teller, witness: Observer, run: str) -> Result:
    """Win the jackpot: an SMS."""
    teller.track(f"leo-{run}", "jackpot_won", amount=5000)
    phone = next(each["phone"] for each in customers(run) if each["user_id"] == f"leo-{run}")
    texts = wait_for(lambda: witness.arrived("sms", phone))
    trip = teller.round_trips[-1]
    return Result("a campaign by SMS", "jackpot_won", "1 text", number(texts, "text"), trip, texts == 1)


def told_by_webhook(teller: Teller, witness: Observer, run: str) -> Result:
    """Deposit a lot: a signed call to another system."""
    user = f"mona-{run}"
    teller.track(user, "deposit", amount=2000)
    calls = wait_for(lambda: witness.arrived("webhook", user))
    trip = teller.round_trips[-1]
    return Result("a campaign by webhook", "deposit of 2,000", "1 call", number(calls, "call"), trip, calls == 1)


def _spinner(run: str, *, held_out: bool) -> str:
    """Return a user who belongs to the holdout of the wheel's campaign, or does not."""
    names = (f"{'kim' if held_out else 'judy'}{number}-{run}" for number in itertools.count())
    return next(name for name in names if is_held_out("demo", "lucky-spin", SPIN_HOLDOUT, name) is held_out)


def _stopped(title: str, sent: str, matches: list[dict[str, Any]], gate: str, teller: Teller) -> Result:
    """Return the line of a match that *gate* had to stop."""
    reasons = [str(match.get("reason")) for match in matches]
    came = ", ".join(reasons) or "nothing"
    return Result(title, sent, f"nothing: {gate}", came, teller.round_trips[-1], reasons == [gate])
