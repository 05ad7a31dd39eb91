"""Clocks that are wrong: of the Gateway, of the Decider, ahead or back, for one event or for many.

The class: one time that is far ahead is stored, and everything that is compared with it stands still until then.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, visitors
from decider.records import MongoRecords
from shared.contracts import Decide, Event
from shared.identities import Identification, PopupEvent
from shared.ruleset import Campaign, Quota
from tests.integration.decider.test_gates import ADD, House, campaign, cart
from tests.integration.decider.test_wake import MINUTE, SECOND
from tests.support.builders import THREE_WINS, compiled

pytestmark = pytest.mark.both_engines
HOUR = 60 * MINUTE
DAYS = 48 * HOUR
Send = Callable[..., int]


class Now(House):
    """A published site at the time of the store's own clock. Times are ms from its start."""

    def __init__(self, redis: Any, database: Any, campaigns: Any, caps: dict[str, Quota]) -> None:
        super().__init__(redis, database, campaigns, caps)
        self.start = int(time.time() * 1000)

    def event(self, name: str, at: int = 0, *, gateway: int = 0, decider: int = 0, **attributes: Any) -> int:
        """Decide an event of anna by clocks that are *gateway* and *decider* ms ahead; return the new messages."""
        before = len(self.post.shown) + len(self.post.queued)
        real = self.start + at
        self.deps = replace(self.deps, clock=lambda: real + decider)
        event = Event(
            user="anna",
            event=name,
            message_id=f"{name} {at} {gateway} {decider}",
            at=real + gateway,
            received=real + gateway,
            attributes=attributes,
        )
        self.ingest(Decide("demo", [event], deadline=real + 2000))
        return len(self.post.shown) + len(self.post.queued) - before

    def say(self, user: str, at: int = 0, *, gateway: int = 0, decider: int = 0, **said: Any) -> None:
        """Identify *user* by clocks that are *gateway* and *decider* ms ahead. *said*: traits, visitor."""
        real = self.start + at
        self.deps = replace(self.deps, clock=lambda: real + decider, records=MongoRecords(self.database))
        identification = Identification(user, real + gateway, at=real + gateway, **said)
        self.ingest(Decide("demo", [identification], deadline=real + 2000))

    def seen(self, activation: str, *, gateway: int) -> None:
        """Report a popup of anna as seen by a clock that is *gateway* ms ahead."""
        self.deps = replace(self.deps, clock=lambda: self.start, records=MongoRecords(self.database))
        popup_event = PopupEvent("anna", activation, "seen", self.start + gateway)
        self.ingest(Decide("demo", [popup_event], deadline=self.start + 2000))

    def owner(self, visitor: str) -> str:
        """Return the user that *visitor* has become."""
        stored: Any = self.redis.hget(keys.row(keys.partition("demo", visitor), "demo", visitor), "l")
        return stored.decode() if isinstance(stored, bytes) else stored

    def ahead(self) -> int:
        """Return how far the row's time is ahead of the start."""
        found: Any = self.redis.keys("*:u:*")
        (row,) = found
        stored: Any = self.redis.hget(row, "m")
        return int(stored) - self.start


@pytest.fixture(name="now")
def _now(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> Callable[..., Now]:
    def make(*campaigns: Campaign, **caps: Quota) -> Now:
        for script in (visitors.DETACH, visitors.MERGE):
            redis_client.script_load(script.text)
        return Now(redis_client, mongodb, campaigns, caps)

    return make


WINS = compiled(THREE_WINS)


def win(home: Now, at: int, **clocks: int) -> int:
    """Send a win."""
    return home.event("game_result", at, outcome="win", **clocks)


def test_a_gateway_that_is_ahead_pins_nothing(now: Callable[..., Now]) -> None:
    """One event 48 hours ahead counts as of now; wins before, at and after it are three in a row."""
    home = now(WINS)
    assert [win(home, 0), win(home, SECOND, gateway=DAYS), win(home, 2 * SECOND)] == [0, 0, 1]
    assert home.ahead() <= MINUTE + 5 * SECOND


def test_windows_go_on_after_a_wrong_clock(now: Callable[..., Now]) -> None:
    """Two wins by the wrong clock and one 12 minutes later are not three wins in ten minutes."""
    home = now(WINS)
    win(home, 0, gateway=DAYS)
    win(home, SECOND, gateway=DAYS)
    assert win(home, 12 * MINUTE) == 0


def test_a_row_that_is_ahead_heals(now: Callable[..., Now]) -> None:
    """Gateway and Decider were both wrong. The next event by the right clocks says what time it is."""
    home = now(WINS)
    win(home, 0, gateway=DAYS, decider=DAYS)
    assert home.ahead() == DAYS
    assert win(home, SECOND) == 0
    assert home.ahead() == SECOND
    assert win(home, 12 * MINUTE) == 0
    assert [win(home, 12 * MINUTE + n) for n in (1, 2)] == [0, 1]


@pytest.mark.parametrize("decider", [-DAYS, -HOUR, HOUR, DAYS])
def test_a_decider_whose_clock_differs_harms_nothing(now: Callable[..., Now], decider: int) -> None:
    """The store's clock agrees with the Gateway's: the row keeps its time."""
    home = now(WINS)
    assert [win(home, n * SECOND, decider=decider if n == 1 else 0) for n in range(3)] == [0, 0, 1]
    assert home.ahead() == 2 * SECOND


def test_a_gateway_that_jumps_back_pins_nothing(now: Callable[..., Now]) -> None:
    """An hour back for one event: its time is that of the row, and the next events go on."""
    home = now(WINS)
    assert [win(home, 0), win(home, SECOND, gateway=-HOUR), win(home, 2 * SECOND)] == [0, 0, 1]
    assert home.ahead() == 2 * SECOND


def test_caps_and_rearm_do_not_stay_closed(now: Callable[..., Now]) -> None:
    """A message that was counted two days ahead closes the cap for its hour, not for two days."""
    home = now(campaign(), email=Quota(1, HOUR))
    assert home.event("pay", 0, gateway=DAYS, decider=DAYS) == 1
    assert home.event("pay", SECOND) == 0
    assert home.event("pay", 30 * MINUTE) == 0


def test_an_absence_waits_from_now_on(now: Callable[..., Now]) -> None:
    """A cart two days ahead waits its 30 minutes from the next event on."""
    home = now(campaign(ADD | {"unless": {"event": "order", "for": "30m"}}))
    home.event("add", 0, gateway=DAYS, decider=DAYS)
    home.event("add", SECOND)
    assert home.event("add", 40 * MINUTE) == 1


def test_an_end_two_days_ahead_ends_nothing_later(now: Callable[..., Now]) -> None:
    """An order by wrong clocks does not stop the carts of the next two days."""
    home = now(campaign(ADD | {"unless": {"event": "order", "for": "30m"}}), cart(name="delayed"))
    home.event("order", 0, gateway=DAYS, decider=DAYS)
    home.event("add", MINUTE)
    assert home.event("add", 40 * MINUTE) == 1
    assert not home.gates()


def test_a_login_by_a_wrong_clock_does_not_win_for_two_days(now: Callable[..., Now]) -> None:
    """A Gateway that is two days ahead identifies the visitor as anna. A second later, the visitor is bob."""
    home = now(WINS)
    home.say("anna", gateway=DAYS, visitor="anon:v1")
    home.say("bob", SECOND, visitor="anon:v1")
    assert home.owner("anon:v1") == "bob"


def test_a_pinned_login_heals(now: Callable[..., Now]) -> None:
    """Both clocks were wrong. The next login by the right clocks counts."""
    home = now(WINS)
    home.say("anna", gateway=DAYS, decider=DAYS, visitor="anon:v1")
    home.say("bob", SECOND, visitor="anon:v1")
    assert home.owner("anon:v1") == "bob"


@pytest.mark.parametrize("decider", [-DAYS, 0, DAYS])
@pytest.mark.parametrize("gateway", [0, HOUR, DAYS])
def test_a_trait_by_a_wrong_clock_does_not_win_for_two_days(
    now: Callable[..., Now], gateway: int, decider: int
) -> None:
    """A trait that wrong clocks set is changed by the next one, whichever clock was wrong."""
    home = now(WINS)
    home.say("anna", gateway=gateway, decider=decider, traits={"tier": "vip"})
    home.say("anna", 2 * MINUTE, traits={"tier": "gold"})
    assert home.database.customers.find_one({"_id": "demo:anna"})["attributes"] == {"tier": "gold"}  # type: ignore[index]


def test_a_decider_that_is_behind_sets_no_trait_back(now: Callable[..., Now]) -> None:
    """The store agrees with the Gateway, so a trait keeps its time and replaces the one of a minute ago."""
    home = now(WINS)
    home.say("anna", traits={"tier": "vip"})
    home.say("anna", 2 * MINUTE, decider=-DAYS, traits={"tier": "gold"})
    assert home.database.customers.find_one({"_id": "demo:anna"})["attributes"] == {"tier": "gold"}  # type: ignore[index]


@pytest.mark.parametrize("first", [0, 1])
def test_a_popup_is_seen_when_the_right_clock_says(now: Callable[..., Now], first: int) -> None:
    """A Gateway two days ahead reports a popup as seen now, not in two days."""
    home = now(WINS)
    home.database.activations.insert_one({"_id": "a1", "site": "demo", "channel": "popup"})
    for clock in ((DAYS, 0), (0, DAYS))[first]:
        home.seen("a1", gateway=clock)
    stored: Any = home.database.activations.find_one({"_id": "a1"})
    seen = stored["seen"].replace(tzinfo=UTC).timestamp() * 1000 - home.start
    assert abs(seen) <= MINUTE + 5 * SECOND


def test_right_clocks_ask_the_store_for_no_time(now: Callable[..., Now]) -> None:
    """A login takes no more scripts than it did."""
    home = now(WINS)
    home.say("anna", visitor="anon:v1", traits={"tier": "vip"})

    def clock(*_: str) -> int:
        raise AssertionError("the store was asked for its time")

    home.deps.states.clock = clock  # type: ignore[method-assign, assignment]
    home.say("anna", 50 * SECOND, gateway=10 * SECOND, visitor="anon:v1", traits={"tier": "vip"})
