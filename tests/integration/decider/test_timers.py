"""The timers are exactly what the row waits for: one script writes both."""

from random import Random
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider.note_size import MAX_NOTE_BYTES
from shared.contracts import Decide, Event
from tests.integration.decider.test_decider import commands_of
from tests.integration.decider.test_wake import GRACE, LEFT, MINUTE, NOTHING, SECOND, T0, UNLESS, WAIT, Shop, ShopMaker
from tests.support import oracle
from tests.support.builders import compiled
from tests.support.machine import fires_of_oracle
from tests.support.strategies import ALL, random_pair

pytestmark = pytest.mark.both_engines

SHOUTED = "o'neil/\"ñ\\\u0000\u007f\u2028 \U0001f6d2"


@pytest.fixture(name="make_shop")
def _make_shop(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ShopMaker:
    return lambda *campaigns: Shop(redis_client, mongodb, campaigns)


def dues(shop: Shop, user: str) -> list[int]:
    """Return when the absences of a user are due, in order."""
    return sorted(due for names, due in shop.timers(user).items() if names[0] == "absence")


def trigger(**changes: Any) -> dict[str, Any]:
    """Return the trigger "an add without an order for half an hour" with *changes*."""
    return {**LEFT, **changes}


def test_the_entry_comes_with_the_event(make_shop: ShopMaker) -> None:
    """One command writes progress and timer. It is due after deadline and grace."""
    shop = make_shop(campaign := compiled(LEFT, channel="email"))
    shop.send("bob", "add", 0)
    assert commands_of(shop, lambda: shop.send("anna", "add", 0)) == 1
    assert shop.timers("anna") == {("absence", "demo", "anna", campaign.trigger.key, ""): WAIT + GRACE}


@pytest.mark.parametrize(("anchor", "due"), [("first", 0), ("last", MINUTE)])
def test_the_entry_moves_with_the_last_anchor_and_stays_with_the_first(
    make_shop: ShopMaker, anchor: str, due: int
) -> None:
    """A second add restarts the wait, or does not. Either way there is one timer."""
    unless = {**UNLESS, "anchor": anchor}
    shop = make_shop(compiled(trigger(unless=unless), channel="email"))
    shop.send("anna", "add", 0)
    shop.send("anna", "add", MINUTE)
    assert dues(shop, "anna") == [due + WAIT + GRACE]
    assert shop.wake(WAIT + GRACE).absences == (anchor == "first")
    shop.wake(MINUTE + WAIT + GRACE)
    assert shop.mails() == [("anna", due + WAIT)]


@pytest.mark.parametrize("event", ["order", "reset"])
def test_the_entry_goes_with_what_ends_the_wait(make_shop: ShopMaker, event: str) -> None:
    """A cancel or a reset removes it immediately. The next add writes it again."""
    shop = make_shop(compiled(trigger(reset_on=[{"event": "reset"}]), channel="email"))
    shop.send("anna", "add", 0)
    shop.send("anna", event, MINUTE)
    assert shop.timers("anna") == {}
    shop.send("anna", "add", 2 * MINUTE)
    assert dues(shop, "anna") == [2 * MINUTE + WAIT + GRACE]


def test_a_late_cancel_counts_where_it_lies_in_the_wait(make_shop: ShopMaker) -> None:
    """An order that is reported ten minutes late cancels the wait around its time, and no later one."""
    shop = make_shop(compiled(LEFT, channel="email"))
    for user, at in (("within", 2 * MINUTE), ("before", 0)):
        shop.send(user, "add", MINUTE)
        shop.send(user, "order", at, received=at + 10 * MINUTE)
    assert (dues(shop, "within"), dues(shop, "before")) == ([], [MINUTE + WAIT + GRACE])


def test_each_run_has_an_entry_and_an_evicted_run_has_none(make_shop: ShopMaker) -> None:
    """Of 21 carts the oldest is evicted with its timer. An order removes the timer of its own cart only."""
    shop = make_shop(compiled(trigger(per="cart"), channel="email"))
    for n in range(21):
        shop.send("anna", "add", n, cart=f"c{n}")
    shop.send("anna", "order", MINUTE, cart="c7")
    shop.send("anna", "order", MINUTE, cart="c0")
    runs = {names[4] for names in shop.timers("anna")}
    assert runs == {f'["c{n}"]' for n in range(1, 21) if n != 7}
    assert shop.wake(WAIT + GRACE + MINUTE).absences == 19
    assert sorted(each.per or "" for each in shop.post.queued) == sorted(runs)
    assert shop.clean("anna")


def test_once_is_once(make_shop: ShopMaker) -> None:
    """After the only firing, no event starts another wait."""
    shop = make_shop(compiled(trigger(after_match="once"), channel="email"))
    shop.send("anna", "add", 0)
    shop.wake(WAIT + GRACE)
    shop.send("anna", "add", WAIT + MINUTE)
    assert shop.timers("anna") == {}
    assert shop.mails() == [("anna", WAIT)]


def test_history_makes_no_entry(make_shop: ShopMaker) -> None:
    """History has its own clock: no wake, only a later event of the user resolves it. It is recorded as history."""
    shop = make_shop(compiled(LEFT, channel="email"))
    shop.send("anna", "add", 0, received=10**9, history=True)
    assert shop.timers("anna") == {}
    assert shop.wake(10 * WAIT) == NOTHING
    shop.send("anna", "order", WAIT, received=10**9, history=True)
    assert [(each.suppressed, each.at) for each in shop.post.recorded] == [("history", T0 + WAIT)]
    assert shop.mails() == []


def test_an_entry_that_history_left_behind_moves_at_the_next_wake(make_shop: ShopMaker) -> None:
    """Imported history has moved the deadline. The wake finds it not due, and a later one handles it in time."""
    shop = make_shop(compiled(trigger(unless={**UNLESS, "anchor": "last"}), channel="email"))
    shop.send("anna", "add", 0)
    shop.send("anna", "add", 3 * SECOND, received=10**9, history=True)
    assert dues(shop, "anna") == [WAIT + GRACE]
    for now in (WAIT + GRACE, WAIT + GRACE + 3 * SECOND - 1):
        assert shop.wake(now) == NOTHING
        assert dues(shop, "anna") == [WAIT + GRACE + 3 * SECOND]
    assert shop.wake(WAIT + GRACE + 3 * SECOND).absences == 1
    assert [each.suppressed for each in shop.post.recorded] == ["history"]


def test_names_come_back_as_they_went(make_shop: ShopMaker) -> None:
    """Quotes, slashes, control characters: the timer is found, fired, handed over and acknowledged."""
    shop = make_shop(compiled(trigger(per="cart"), channel="email"))
    for n, user in enumerate((SHOUTED, "ünï", "anon:1", " ")):
        shop.send(user, "add", n, cart=SHOUTED)
        shop.post.refused = 1
        with pytest.raises(Exception, match="refused"):
            shop.wake(n + WAIT + GRACE)
        assert shop.wake(n + WAIT + GRACE + 30 * SECOND).handovers == 1
        assert shop.clean(user)
    assert shop.mails() == [(user, n + WAIT) for n, user in enumerate((SHOUTED, "ünï", "anon:1", " "))]
    assert {each.per for each in shop.post.queued} == {msgspec.json.encode([SHOUTED]).decode()}


def test_what_a_row_remembers_of_large_events_has_room(make_shop: ShopMaker) -> None:
    """Five absences, each with an attribute of 30 kB, fall due together. The event that resolves them is decided.

    Each activation has the attribute as far as there is room for it.
    """
    campaigns = [compiled(LEFT, name=f"c{n}", channel="email") for n in range(5)]
    for campaign in campaigns:
        campaign.reads = ["text"]
    shop = make_shop(*campaigns)
    shop.send("anna", "add", 0, text="x" * 30_000)
    for _ in range(2):
        shop.send("anna", "order", WAIT)
    assert len(shop.post.queued) == 10
    assert len({each.id for each in shop.post.queued}) == 5
    (text,) = {each.attributes["text"] for each in shop.post.queued}
    assert text == "x" * (len(text) - 1) + "…"
    assert MAX_NOTE_BYTES - 50 < len(text) < MAX_NOTE_BYTES


def pending_of(shop: Shop, user: str) -> dict[tuple[str, ...], int]:
    """Return the timers that a user's progress needs, read from the stored row."""
    wanted: dict[tuple[str, ...], int] = {}
    for field, packed in shop.row(user).items():
        if not field.startswith(b"t:"):
            continue
        for per, flat in msgspec.msgpack.decode(packed):
            earliest, kind = flat[:2]
            if kind % 2:
                due = earliest + flat[2]
                wanted["absence", "demo", user, field[2:].decode(), per] = due + GRACE - T0
    return wanted


def test_random_absences_fire_as_the_definition_says(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> None:
    """Twelve random triggers, 120 random users, wakes between the events: each firing of the oracle comes once.

    After every step the timers are exactly what the rows wait for.
    """
    rng = Random(7)
    pairs = [pair for pair in (random_pair(rng, features=ALL | {"unless"}) for _ in range(500)) if "unless" in pair[0]]
    triggers = [pair[0] for pair in pairs[:12]]
    campaigns = [compiled(each, name=f"c{n}", channel="email") for n, each in enumerate(triggers)]
    shop = Shop(redis_client, mongodb, campaigns)
    fired = woken = 0
    for n, (_, events) in enumerate(pairs[:120]):
        user = f"user-{n}"
        accepted = [each for each in events if shop.rulesets.get()["demo"].index.lookup(each.event, each.attributes)]
        clock = 0
        for event in accepted:
            clock = max(clock, event.at)
            if rng.random() < 0.3:  # all that this wake fires is due before the event, as in the oracle
                woken += shop.wake(clock + GRACE - T0, user=user).absences
            decided = _decide(shop, user, event)
            assert decided is not None
            assert shop.timers(user) == pending_of(shop, user)
        end = clock + 10 * MINUTE
        woken += shop.wake(end + GRACE - T0, user=user).absences
        assert shop.timers(user) == {}
        assert shop.wake(end + GRACE - T0, user=user) == NOTHING
        mails = {mail.id: mail for mail in shop.post.queued if mail.user == user}  # repeated ids: repeated events
        for campaign, each in zip(campaigns, triggers, strict=True):
            expected = [(at, per) for at, _, per in fires_of_oracle(each, accepted, end)]
            got = [(mail.at, mail.per or "") for mail in mails.values() if mail.campaign == campaign.id]
            assert sorted(got) == expected, (each, accepted)
            fired += len(got)
    assert len({mail.id for mail in shop.post.queued}) == fired
    assert fired > 200
    assert 50 < woken < fired - 50  # some were resolved by the events


def _decide(shop: Shop, user: str, seen: oracle.Seen) -> Any:
    event = Event(user, seen.event, seen.message_id, seen.at, seen.received, dict(seen.attributes))
    return shop.ingest(Decide("demo", [event], deadline=seen.received))
