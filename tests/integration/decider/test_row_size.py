"""A user's row is bounded, and the cost of an event stays flat, whatever events the public endpoint gets.

The class: anything of an event that a match keeps (for a repeated response, a pending absence, an offer, an open
activation), times the number that a row keeps of it.
"""

from collections.abc import Callable
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider.note_size import MARK
from shared.contracts import Decide, Event
from shared.ruleset import Campaign, Quota
from tests.integration.decider.test_gates import ADD, PAY, House, campaign, cart
from tests.integration.decider.test_user_state import row_of
from tests.integration.decider.test_wake import MINUTE, T0

pytestmark = pytest.mark.both_engines
LARGE = "\x01ü🥐" * 10_000
HouseMaker = Callable[..., House]
KB = 1024


@pytest.fixture(name="house")
def _house(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> HouseMaker:
    def make(*campaigns: Campaign, **caps: Quota) -> House:
        return House(redis_client, mongodb, campaigns, caps)

    return make


def row_bytes(home: House) -> int:
    """Return the bytes of anna's row, with its overhead."""
    used: Any = home.redis.memory_usage(row_of("anna"), samples=0)
    return int(used or 0)


def script_us(home: House, work: Callable[[], Any]) -> float:
    """Return the script time of *work*, µs per call."""
    before: Any = home.redis.info("commandstats").get("cmdstat_evalsha", {"usec": 0, "calls": 0})
    work()
    after: Any = home.redis.info("commandstats")["cmdstat_evalsha"]
    return float((after["usec"] - before["usec"]) / (after["calls"] - before["calls"]))


def test_130_large_events_leave_a_small_row(house: HouseMaker) -> None:
    """30 KB each, all of them matches: under 40 KB, and a later event costs about what the first one did."""
    home = house(campaign(channel="popup", reads=["text"]))
    first = script_us(home, lambda: [home.send("bob", "pay", n, text=LARGE) for n in range(5)])
    for n in range(130):
        home.send("anna", "pay", n, text=LARGE)
    assert row_bytes(home) < 40 * KB
    later = script_us(home, lambda: [home.send("anna", "pay", 200 + n, text=LARGE) for n in range(20)])
    assert later < 5 * first


def test_content_gets_the_beginning_of_a_long_value(house: HouseMaker) -> None:
    """The longest value ends with a mark; the others are whole. Attributes that content does not use are not kept."""
    home = house(campaign(reads=["text", "name"]))
    home.send("anna", "pay", 0, text="word " * 6000, name="Anna", other="x")
    (activation,) = home.post.queued
    assert set(activation.attributes) == {"text", "name"}
    assert activation.attributes["name"] == "Anna"
    assert activation.attributes["text"].startswith("word word")
    assert activation.attributes["text"].endswith(MARK)


def test_everything_that_a_row_keeps_is_bounded(house: HouseMaker) -> None:
    """Offers, 20 waiting runs, 20 delayed messages and their goals, stored results, and 3,000 ids: under 160 KB."""
    waiting = ADD | {"unless": {"event": "order", "for": "7d"}, "per": "cart"}
    home = house(
        campaign(channel="popup", name="again", reads=["text"], until_seen=60 * MINUTE),
        campaign(waiting, name="waits", reads=["text"]),
        cart(name="delayed", trigger_source=PAY, reads=["text"]),
    )
    for start in range(0, 3000, 500):
        items: list[Any] = [
            Event(
                user="anna",
                event="add" if n % 2 else "pay",
                message_id=f"m{n}",
                at=T0 + n,
                received=T0 + 3000,
                attributes={"text": LARGE, "cart": n},
            )
            for n in range(start, start + 500)
        ]
        home.ingest(Decide("demo", items, deadline=T0 + 5000))
    assert row_bytes(home) < 160 * KB
