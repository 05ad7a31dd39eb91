"""Starts and ends of a campaign that arrive in another order than they happened, in a real state store.

The class: two events of a user come by different ways (browser and server, retry, batch) and overtake each other. What
ends a campaign (`unless`, `reset_on`, `cancel_on`, the goal of a delayed message) ends what began before it, and only
that, whichever arrives first.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from opportune.events.streams import Recorded
from opportune.replay.engine import Replay
from shared.contracts import Decide, Event
from shared.identities import Identification
from shared.ruleset import CANCEL, GOAL, Campaign, Goal, Matcher
from tests.integration.decider.test_gates import ADD, campaign, cart
from tests.integration.decider.test_visitors import VISITOR, Club, make_club
from tests.integration.decider.test_wake import MINUTE, SECOND, T0
from tests.support import oracle
from tests.support.builders import compiled

pytestmark = pytest.mark.both_engines

FOR = 90 * SECOND
LATER = 10 * MINUTE
UNLESS: dict[str, Any] = ADD | {"unless": {"event": "order", "for": "90s"}}


def unless(**changes: Any) -> Campaign:
    """Return a campaign that mails unless an order comes within 90 s."""
    return campaign(UNLESS | changes)


def delayed(**changes: Any) -> Campaign:
    """Return a campaign that mails after 90 s, unless an order cancels it."""
    return cart(delay=FOR, **changes)


def by_goal() -> Campaign:
    """Return a campaign that mails after 90 s, unless its goal is reached."""
    return cart(delay=FOR, watchers=[Matcher(["order"], GOAL)], goal=Goal(24 * 60 * MINUTE), cancel_on_goal=True)


BOTH = pytest.mark.parametrize("make", [unless, delayed, by_goal], ids=["unless", "cancel_on", "goal"])
ClubMaker = Callable[..., Club]


@pytest.fixture(name="club")
def _club(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ClubMaker:
    return partial(make_club, redis_client, mongodb)


def mailed(home: Club, user: str = "anna") -> int:
    """Return how many messages the Engager would send."""
    home.wake_each(LATER, user, VISITOR)
    return len({each.id for each in home.post.queued if each.user in (user, VISITOR) and not each.suppressed})


@BOTH
@pytest.mark.parametrize(
    ("arrivals", "mails"),
    [
        # (event, own time in s, received in s)
        ([("order", -2, 0), ("add", -20, 1)], 0),
        ([("order", -2, 0), ("add", -20, 0)], 0),
        ([("order", -2, 0), ("add", -200, 90)], 0),
        ([("order", -20, 0), ("add", -2, 0)], 1),
        ([("order", -20, 0), ("add", -20, 0)], 1),
        ([("add", -2, 0), ("order", -20, 1)], 1),
        ([("add", -20, 0), ("order", -2, 1)], 0),
        ([("add", -20, 0), ("order", -20, 1)], 0),
        ([("order", -2, 0), ("order", -30, 1), ("add", -20, 2)], 0),
        ([("order", -2, 0), ("add", -20, 1), ("add", -1, 2)], 1),
        ([("view", -1, 0), ("add", -20, 1), ("order", -10, 2)], 0),
        ([("view", -1, 0), ("add", -10, 1), ("order", -20, 2)], 1),
        ([("order", -290, 0), ("add", -299, 0)], 0),
        ([("order", -400, 0), ("add", -1, 0)], 1),
    ],
)
def test_an_end_ends_what_began_before_it(
    club: ClubMaker, make: Callable[[], Campaign], arrivals: list[tuple[str, int, int]], mails: int
) -> None:
    """The order counts in which the events happened, not that in which they arrive."""
    home = club(make(), campaign({"sequence": [{"event": "view"}]}, name="views", channel="popup"))
    for event, at, received in arrivals:
        home.send("anna", event, at * SECOND, received=received * SECOND)
    assert mailed(home) == mails


@BOTH
def test_a_request_is_taken_in_the_order_of_time(club: ClubMaker, make: Callable[[], Campaign]) -> None:
    """In one batch, in any order: only the cart after the order is reminded of."""
    home = club(make())
    for n, order in enumerate([(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)]):
        user = f"user {n}"
        events = [("add", -30), ("order", -20), ("add", -10)]
        items: list[Any] = [
            Event(user=user, event=events[k][0], message_id=f"{user} {k}", at=T0 + events[k][1] * SECOND, received=T0)
            for k in order
        ]
        decided = home.ingest(Decide("demo", items, deadline=T0 + 2000))
        assert [each.message_id for each in decided.decisions] == [each.message_id for each in items]
        assert mailed(home, user) == 1
        assert [at for _, at in home.mails(user)] == [-10 * SECOND + (FOR if make is unless else 0)]


def test_users_and_logins_keep_their_place(club: ClubMaker) -> None:
    """The events of one person are sorted, across the login; those of others do not move."""
    home = club(unless())
    items: list[Any] = [
        Event(user="anna", event="order", message_id="2", at=T0 - 2000, received=T0),
        Event(user="bob", event="add", message_id="3", at=T0 - 1000, received=T0),
        Identification("anna", T0, visitor=VISITOR, at=T0 - 500),
        Event(user=VISITOR, event="add", message_id="1", at=T0 - 20_000, received=T0),
    ]
    decided = home.ingest(Decide("demo", list(items), deadline=T0 + 2000))
    assert [each.message_id for each in decided.decisions] == ["2", "3", "1"]
    assert (mailed(home), mailed(home, "bob")) == (0, 1)


@BOTH
@pytest.mark.parametrize("login_at", [0, 1, 2])
def test_a_login_in_between_changes_nothing(club: ClubMaker, make: Callable[[], Campaign], login_at: int) -> None:
    """The order comes as the user or as the visitor, and so does the older cart."""
    home = club(make())
    for n, (event, at) in enumerate([("order", -2), ("add", -20)]):
        if n == login_at:
            home.become(at=n)
        home.send("anna" if n >= login_at else VISITOR, event, at * SECOND, received=n)
    if login_at == 2:
        home.become(at=3)
    assert mailed(home) == 0


def test_runs_are_ended_one_by_one(club: ClubMaker) -> None:
    """With `per`, an order ends its own cart; an order that names no cart cancels all delayed messages."""
    per: dict[str, Any] = {"per": "cart"}
    home = club(unless(**per), delayed(trigger_source=ADD | {"sequence": [{"event": "put"}]} | per, name="put"))
    home.send("anna", "order", -2 * SECOND, received=0, cart="a")
    for cart_id in ("a", "b"):
        home.send("anna", "add", -20 * SECOND, received=1, message_id=cart_id, cart=cart_id)
    assert mailed(home) == 1
    home.send("bob", "order", -2 * SECOND, received=0)
    home.send("carol", "order", -2 * SECOND, received=0, cart="a")
    for user in ("bob", "carol"):
        for cart_id in ("a", "b"):
            home.send(user, "put", -20 * SECOND, received=1, message_id=user + cart_id, cart=cart_id)
    assert (mailed(home, "bob"), mailed(home, "carol")) == (0, 1)


def test_the_ledger_says_why_nothing_was_sent(club: ClubMaker) -> None:
    """The match is recorded as cancelled, or as stopped by the goal."""
    home = club(delayed(name="a"), msgspec.structs.replace(by_goal(), id="b"))
    home.send("anna", "order", -2 * SECOND, received=0)
    home.send("anna", "add", -20 * SECOND, received=1)
    assert home.gates() == ["cancelled", "goal"]


def test_a_long_max_backdate_remembers_as_long(club: ClubMaker) -> None:
    """With an hour of `max_backdate`, an order ends a cart that arrives 50 minutes later; then it is forgotten."""
    home = club(unless(max_backdate="1h"))
    home.send("anna", "order", 0)
    home.send("anna", "add", -MINUTE, received=50 * MINUTE)
    assert home.timers("anna") == {}
    assert b"n" in home.row("anna")
    home.send("anna", "add", 61 * MINUTE)
    assert b"n" not in home.row("anna")
    assert home.timers("anna") != {}


def test_an_order_without_a_cart_leaves_little(club: ClubMaker) -> None:
    """The time of the newest order is stored, and nothing else; further orders take no more room."""
    home = club(delayed())
    for n in range(50):
        home.send("anna", "order", n * SECOND)
    assert set(home.row("anna")) == {b"n"}
    assert len(home.row("anna")[b"n"]) < 64
    assert 0 < home.redis.pttl(keys_of(home)) <= 5 * MINUTE


def keys_of(home: Club) -> str:
    """Return the only row."""
    found: Any = home.redis.keys("*:u:*")
    (row,) = found
    return str(row.decode())


@BOTH
def test_a_repeated_request_cancels_nothing(club: ClubMaker, make: Callable[[], Campaign]) -> None:
    """An order that found nothing to end is sent again, after a newer cart has come: the cart's message stays."""
    home = club(make())
    for _ in range(2):
        home.send("anna", "order", 0, message_id="order", received=SECOND)
        home.send("anna", "add", SECOND, message_id="cart")
    assert mailed(home) == 1


def test_a_goal_before_the_match_is_no_conversion(club: ClubMaker) -> None:
    """A deposit that happened before the message was earned does not convert it."""
    home = club(campaign(watchers=[Matcher(["deposit"], GOAL)], goal=Goal(60 * MINUTE)))
    home.send("anna", "pay", 10 * SECOND)
    home.send("anna", "deposit", 5 * SECOND, received=11 * SECOND)
    assert home.post.converted == []
    home.send("anna", "deposit", 12 * SECOND)
    assert len(home.post.converted) == 1


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_live_the_definition_and_a_sorted_replay_agree(club: ClubMaker, anchor: str) -> None:
    """Random carts and orders, up to `max_backdate` late, one wait at a time: the same messages.

    A replay reads the events in the order of time; the Decider and the definition get them as they arrive.
    """
    trigger = ADD | {"unless": {"event": "order", "for": "90s", "anchor": anchor}}
    home = club(campaign(trigger))
    rng = random.Random(f"{anchor}")
    for n in range(60):
        user, at = f"u{n}", 0
        events: list[tuple[str, int, str]] = []
        for k in range(rng.randint(2, 6)):
            at += rng.choice([1, 5, 20]) * SECOND
            event = "order" if rng.random() < 0.5 else ("add" if not any(e == "add" for e, *_ in events) else "order")
            events.append((event, at, f"{user} {k}"))
        arrivals = [(event, at, name, at + rng.choice([0, 0, 3, 40, 299]) * SECOND) for event, at, name in events]
        arrivals.sort(key=lambda each: each[3])
        seen = []
        for event, at, name, received in arrivals:
            home.send(user, event, at, received=received, message_id=name)
            seen.append(oracle.Seen(event, {}, T0 + at, T0 + received, name))
        recorded = [Recorded(user, event, name, {}, T0 + at) for event, at, name in events]
        replay = Replay([compiled(trigger, channel="email")])
        list(replay.run(recorded))
        replayed = bool(replay.finish(T0 + 60 * MINUTE))
        defined = bool(oracle.fires(trigger, seen, until=T0 + 60 * MINUTE))
        home.wake_each(60 * MINUTE, user)
        assert bool(home.mails(user)) == defined == replayed, arrivals


def test_a_batch_with_cancelling_events_in_any_order(club: ClubMaker) -> None:
    """The watchers of several campaigns at once: each has its own newest end."""
    other = cart(name="other", delay=FOR, watchers=[Matcher(["leave"], CANCEL)])
    home = club(delayed(), other)
    home.send("anna", "order", -2 * SECOND, received=0)
    home.send("anna", "add", -20 * SECOND, received=1)
    home.wake(LATER)
    assert [each.campaign for each in home.post.queued] == ["other"]
    assert home.gates() == ["cancelled"]
