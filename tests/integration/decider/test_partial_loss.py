"""A state store that loses part of its data, and keeps its state epoch: a lost tail, or a restored snapshot.

The class of fault: an effect is promised, and a single store knows of it. Each delayed activation must end in the
ledger, whatever part of the store is lost, and whenever: before its doorbell, between two rings, before or after it was
handed over or cancelled. So its doorbell carries it, and exists before the event is answered. It is not dropped before
the ledger knows the activation: neither if it rings too early, nor if it is late or doubled, nor if a call fails.

The servers are real. A loss is played by writing back what the store contained earlier.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider.timers import LOST_AFTER_MS
from decider.user_admin import forget
from decider.wake import answer_doorbell
from engager.ledger.ledger import MongoLedger
from engager.ledger.states import DeliveryResult, State
from shared.contracts import Doorbell, ForgetUser, Woken
from shared.errors import Unavailable
from shared.ruleset import Campaign
from tests.integration.decider.test_gates import ADD, House, cart
from tests.integration.decider.test_wake import GRACE, LEFT, MINUTE, SECOND, T0
from tests.support.builders import compiled

pytestmark = pytest.mark.both_engines

DUE = 30 * MINUTE
HOUR = 60 * MINUTE
CARTS = ADD | {"per": ["cart_id"]}


class Town(House):
    """A published site whose outbox leads to a real ledger. ``sent``: what was claimed for sending, in order."""

    def __init__(self, redis: Any, database: Any, campaigns: Any, caps: Any) -> None:
        super().__init__(redis, database, campaigns, caps)
        self.ledger = MongoLedger(database.activations, lambda: T0)
        self.sent: list[str] = []

    def save(self) -> dict[bytes | str, bytes]:
        """Return everything that the store contains."""
        return {name: self.redis.dump(name) or b"" for name in self.redis.keys("*")}

    def lose(self, saved: dict[bytes | str, bytes]) -> None:
        """Go back to what was *saved*."""
        self.redis.flushall()
        for name, value in saved.items():
            self.redis.restore(name, 0, value)

    def ring(self, at: int, doorbell: Doorbell) -> Woken:
        """Answer *doorbell* at *at*, and let the Engager do what is to be done."""
        woken = answer_doorbell(doorbell, replace(self.deps, clock=lambda: T0 + at), self.late.append)
        self.deliver()
        return woken

    def ring_out(self, doorbells: list[Doorbell] | None = None, at: int = DUE) -> None:
        """Answer *doorbells*, or all, until none rings again."""
        for each in list(self.post.doorbells) if doorbells is None else doorbells:
            self.ring(at, each)
        for _ in range(5):
            again, self.post.again = self.post.again, []
            for each, when in again:
                self.ring(when - T0, each)
        assert self.post.again == []

    def deliver(self) -> None:
        """Send what is in the queue, and record what is not sent."""
        self.ledger.record_suppressed(self.post.recorded)
        for each in self.post.queued:
            if self.ledger.claim(each):
                self.sent.append(each.id)
                self.ledger.settle(each.id, DeliveryResult(State.SENT))
        self.post.recorded, self.post.queued = [], []

    def ends(self) -> list[tuple[str, str | None]]:
        """Return state and reason of all rows, sorted."""
        return sorted((row["state"], row.get("reason")) for row in self.database.activations.find())


TownMaker = Callable[..., Town]


@pytest.fixture(name="town")
def _town(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> TownMaker:
    return lambda *campaigns: Town(redis_client, mongodb, campaigns, {})


def after_a_lost_tail(town: TownMaker, campaign: Campaign) -> Town:
    """Return a site on which two carts wait. The store has lost the second one."""
    home = town(campaign)
    home.send("anna", "add", 0, cart_id="a")
    replica = home.save()
    home.send("anna", "add", 1, cart_id="b")
    home.lose(replica)
    return home


def lost_end(campaign: Campaign) -> tuple[str, str | None]:
    """Return how a lost activation of *campaign* ends."""
    return ("sent", None) if campaign.send_if_lost else ("suppressed", "state_lost")


@pytest.mark.parametrize("sends", [False, True])
def test_a_lost_tail_ends_in_the_ledger(town: TownMaker, sends: bool) -> None:
    """A is delayed, replication stops, B is delayed, the replica takes over: A is sent once, B ends by its policy."""
    campaign = cart(trigger_source=CARTS, send_if_lost=sends)
    home = after_a_lost_tail(town, campaign)
    first, second = home.post.doorbells
    home.ring(DUE, first)
    assert (home.ring(DUE + 1, second), home.ends()) == (Woken(0, 0), [("sent", None)])
    ((again, when),) = home.post.again
    assert (again.rings, when) == (1, second.lost.due + LOST_AFTER_MS)
    home.ring(when - T0 - 1, again)
    assert home.ends() == [("sent", None)]
    home.ring(when - T0, again)
    assert Counter(home.ends()) == Counter([("sent", None), lost_end(campaign)])
    assert home.sent == [first.lost.id] + [second.lost.id] * sends


@pytest.mark.parametrize("sends", [False, True])
def test_a_restored_snapshot_leaves_all_of_them_in_the_ledger(town: TownMaker, sends: bool) -> None:
    """Eight of eight that were delayed after the snapshot."""
    campaign = cart(trigger_source=CARTS, send_if_lost=sends)
    home = town(campaign)
    home.send("anna", "add", 0, cart_id="before")
    snapshot = home.save()
    for n in range(8):
        home.send("anna", "add", 1 + n, cart_id=str(n))
    home.lose(snapshot)
    home.ring_out()
    assert Counter(home.ends()) == Counter([("sent", None)] + [lost_end(campaign)] * 8)
    assert max(Counter(home.sent).values()) == 1


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("before", ["match", "order"])
def test_what_was_cancelled_before_the_loss_stays_cancelled(town: TownMaker, before: str, sends: bool) -> None:
    """The store goes back to before the order, or even before the match. The ledger has the cancellation."""
    home = town(cart(trigger_source=CARTS, send_if_lost=sends))
    home.send("anna", "add", 0, cart_id="other")
    saved = home.save()
    home.send("anna", "add", 1, cart_id="mine")
    if before == "order":
        saved = home.save()
    home.send("anna", "order", MINUTE, cart_id="mine")
    home.deliver()
    home.lose(saved)
    home.wake(DUE + SECOND)
    home.ring_out(at=DUE + 2 * SECOND)
    assert home.ends() == [("sent", None), ("suppressed", "cancelled")]
    assert home.sent == [home.post.doorbells[0].lost.id]


@pytest.mark.parametrize("sends", [False, True])
def test_a_row_that_is_there_again_at_the_second_ring_is_sent(town: TownMaker, sends: bool) -> None:
    """A replica that was behind answers the first ring; at the second one it has caught up."""
    home = town(cart(trigger_source=CARTS, send_if_lost=sends))
    home.send("anna", "add", 0, cart_id="a")
    behind = home.save()
    home.send("anna", "add", 1, cart_id="b")
    caught_up = home.save()
    home.lose(behind)
    home.ring(DUE + 1, home.post.doorbells[1])
    home.lose(caught_up)
    ((again, when),) = home.post.again
    assert home.ring(when - T0, again) == Woken(0, 0, delayed=1)
    home.wake(HOUR)
    home.deliver()
    assert home.ends() == [("sent", None)] * 2
    assert sorted(home.sent) == sorted(each.lost.id for each in home.post.doorbells)


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("loss", ["after", "between"])
def test_what_was_handed_over_is_not_sent_again(town: TownMaker, sends: bool, loss: str) -> None:
    """It is sent at its due time; then the store goes back to before that, or loses it. The ledger has its row."""
    home = town(cart(trigger_source=CARTS, send_if_lost=sends))
    home.send("anna", "add", 0, cart_id="a")
    earlier = home.save()
    home.send("anna", "add", 1, cart_id="b")
    waiting = home.save()
    home.ring_out(at=DUE + 1)
    home.lose(waiting if loss == "after" else earlier)
    home.wake(HOUR)
    home.ring_out(at=DUE + 2)
    home.ring_out(at=2 * HOUR)
    assert home.ends() == [("sent", None)] * 2
    assert len(home.sent) == 2


@pytest.mark.parametrize("sends", [False, True])
def test_rings_that_are_doubled_change_nothing(town: TownMaker, sends: bool) -> None:
    """Each ring comes three times, and each of them rings again: the activation ends once."""
    campaign = cart(trigger_source=CARTS, send_if_lost=sends)
    home = after_a_lost_tail(town, campaign)
    home.ring_out(home.post.doorbells * 3)
    assert Counter(home.ends()) == Counter([("sent", None), lost_end(campaign)])
    assert max(Counter(home.sent).values()) == 1


def test_a_doorbell_that_rings_too_early_rings_again(town: TownMaker) -> None:
    """A queue carries it in hops of 15 minutes, or a clock is behind. Then the store loses the activation."""
    home = town(cart(trigger_source=CARTS))
    home.send("anna", "add", 0, cart_id="a")
    saved = home.save()
    home.send("anna", "add", 1, cart_id="b")
    home.ring(15 * MINUTE, home.post.doorbells[1])
    ((early, when),) = home.post.again
    assert (early.rings, when) == (1, early.lost.due)
    home.lose(saved)
    home.ring_out([home.post.doorbells[0], early], at=DUE + 1)
    assert home.ends() == [("sent", None), ("suppressed", "state_lost")]


@pytest.mark.parametrize("late", [LOST_AFTER_MS, 24 * HOUR])
def test_a_doorbell_that_is_late_waits_no_longer(town: TownMaker, late: int) -> None:
    """After the grace, the first ring hands over what it carries."""
    home = town(cart(trigger_source=CARTS))
    home.send("anna", "add", 0, cart_id="a")
    saved = home.save()
    home.send("anna", "add", 1, cart_id="b")
    home.lose(saved)
    home.ring(DUE + 1 + late, home.post.doorbells[1])
    assert (home.post.again, home.ends()) == ([], [("suppressed", "state_lost")])


def test_a_second_ring_that_cannot_be_scheduled_goes_back_to_the_queue(town: TownMaker) -> None:
    """The doorbell is the only one that knows of the activation, so it must not be deleted."""
    home = town(cart(trigger_source=CARTS))
    home.send("anna", "add", 0, cart_id="a")
    saved = home.save()
    home.send("anna", "add", 1, cart_id="b")
    home.lose(saved)
    home.post.mute = True
    with pytest.raises(Unavailable):
        home.ring(DUE + 1, home.post.doorbells[1])
    home.post.mute = False
    home.post.broken = True
    with pytest.raises(Unavailable):
        home.ring(HOUR, home.post.doorbells[1])
    home.post.broken = False
    home.ring(HOUR, home.post.doorbells[1])
    assert home.ends() == [("suppressed", "state_lost")]


@pytest.mark.parametrize("sends", [False, True])
def test_an_absence_with_a_delay_ends_in_the_ledger(town: TownMaker, sends: bool) -> None:
    """The absence has fired, its message is delayed, and the store loses it."""
    campaign = msgspec.structs.replace(compiled(LEFT, channel="email", name="left"), delay=HOUR, send_if_lost=sends)
    home = town(campaign)
    home.send("anna", "add", 0)
    home.wake(DUE + GRACE)
    saved = home.save()
    home.send("anna", "add", 40 * MINUTE)
    home.wake(70 * MINUTE + GRACE)
    home.lose(saved)
    home.ring_out(at=70 * MINUTE + HOUR)
    assert Counter(home.ends()) == Counter([("sent", None), lost_end(campaign)])


def test_an_absence_that_fires_again_after_a_loss_is_sent_once(town: TownMaker) -> None:
    """Its id is that of its deadline, so the ledger knows it although the store does not."""
    home = town(compiled(LEFT, channel="email", name="left"))
    home.send("anna", "add", 0)
    saved = home.save()
    for _ in range(2):
        assert home.wake(30 * MINUTE + GRACE).absences == 1
        home.deliver()
        home.lose(saved)
    assert (home.ends(), len(home.sent)) == ([("sent", None)], 1)


def test_an_absence_that_waits_is_lost_with_its_store(town: TownMaker) -> None:
    """A limit: before its deadline an absence is progress, as a half-finished sequence is. Only the store knows it."""
    home = town(compiled(LEFT, channel="email", name="left"))
    saved = home.save()
    home.send("anna", "add", 0)
    home.lose(saved)
    assert home.wake(HOUR) == Woken(0, 0)
    assert (home.ends(), home.post.doorbells) == ([], [])


def test_an_order_after_the_loss_does_not_stop_what_a_doorbell_carries(town: TownMaker) -> None:
    """A limit: the store has forgotten what can be cancelled. With `if_state_lost: skip` nothing is sent anyway."""
    for sends in (True, False):
        home = town(cart(trigger_source=CARTS, send_if_lost=sends))
        home.send("anna", "add", 0, cart_id="a")
        saved = home.save()
        home.send("anna", "add", 1, cart_id="b")
        home.lose(saved)
        home.send("anna", "order", MINUTE)
        home.ring_out(at=DUE + 1)
        expected = [("suppressed", "cancelled"), ("sent", None) if sends else ("suppressed", "state_lost")]
        assert Counter(home.ends()) == Counter(expected)
        home.redis.flushall()
        for name in ("activations", "rulesets"):
            home.database[name].delete_many({})


@pytest.mark.parametrize("sends", [False, True])
def test_the_holdout_is_not_sent_after_a_loss(town: TownMaker, sends: bool) -> None:
    """A held-out user gets a record either way; with the policy `send` it is that of the holdout."""
    home = town(cart(trigger_source=CARTS, send_if_lost=sends, holdout=10_000))
    home.send("anna", "add", 0, cart_id="a")
    saved = home.save()
    home.send("anna", "add", 1, cart_id="b")
    home.lose(saved)
    home.ring_out(at=DUE + 1)
    lost = ("held_out", "holdout") if sends else ("suppressed", "state_lost")
    assert Counter(home.ends()) == Counter([("held_out", "holdout"), lost])
    assert home.sent == []


def test_a_forgotten_user_leaves_a_doorbell_that_carries_an_activation(town: TownMaker) -> None:
    """The store has erased it, so the doorbell hands it over: the tombstone stops it, see the tests of the Engager."""
    home = town(cart(send_if_lost=True))
    home.send("anna", "add", 0)
    forget(ForgetUser("demo", "anna"), home.deps)
    answer_doorbell(home.post.doorbells[0], replace(home.deps, clock=lambda: T0 + HOUR), home.late.append)
    assert [(each.user, each.suppressed) for each in home.post.queued] == [("anna", None)]


def test_lateness_is_that_of_what_was_claimed(town: TownMaker) -> None:
    """A second ring that finds nothing is not a late delivery, and counts as none."""
    home = town(cart())
    home.send("anna", "add", 0)
    home.ring_out(home.post.doorbells * 2)
    assert home.late == [0]
