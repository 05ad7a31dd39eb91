"""Gates, caps, delays, cancellations and goals: decided in a real state store, by the tests' clock."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis

from decider import keys
from decider.activations import activation_id
from decider.ports import Deps
from decider.stats import Stats
from decider.user_state import Batch, UserStateStore
from decider.wake import answer_doorbell
from decider.wiring import redis_client as connect
from opportune.events.streams import Recorded
from opportune.replay.engine import Replay
from opportune.replay.gates import Gates, LiveCampaign
from shared.contracts import Doorbell, Woken
from shared.errors import Unavailable
from shared.ruleset import CANCEL, GOAL, Campaign, Goal, Limits, Matcher, Quota, Schedule
from tests.integration.decider.test_user_state import together
from tests.integration.decider.test_wake import GRACE, MINUTE, SECOND, T0, Shop
from tests.support.builders import compiled, log_warning
from tests.support.decider_harness import DeciderHarness

HOUR = 60 * MINUTE
DAY = 24 * HOUR
PAY: dict[str, Any] = {"sequence": [{"event": "pay"}]}
ADD: dict[str, Any] = {"sequence": [{"event": "add"}]}


def campaign(trigger: dict[str, Any] = PAY, *, channel: str = "email", name: str = "test", **changes: Any) -> Campaign:
    """Return a compiled campaign for everyone, with *changes* in its fields."""
    return msgspec.structs.replace(compiled(trigger, channel=channel, name=name), **changes)


def cart(**changes: Any) -> Campaign:
    """Return a campaign that sends an e-mail 30 minutes after an `add`, unless an `order` cancels it."""
    fields = {"delay": 30 * MINUTE, "watchers": [Matcher(["order"], CANCEL)], **changes}
    return campaign(fields.pop("trigger_source", ADD), **fields)


class House(Shop):
    """A published site with caps."""

    def __init__(self, redis: Any, database: Any, campaigns: Sequence[Campaign], caps: dict[str, Quota]) -> None:
        self._caps = caps
        super().__init__(redis, database, campaigns)

    def publish(self, campaigns: Sequence[Any], *, generation: int) -> None:
        """Make *campaigns* the current ruleset, with the site's caps."""
        DeciderHarness.publish(self, campaigns, generation=generation)
        caps = {name: msgspec.to_builtins(quota) for name, quota in self._caps.items()}
        self.database.rulesets.update_one({"_id": f"demo:{self.version}"}, {"$set": {"ruleset.caps": caps}})

    def gates(self) -> list[str | None]:
        """Return the gate of each recorded activation."""
        return [each.suppressed for each in self.post.recorded]

    def answer_doorbell(self, user: str, at: int) -> None:
        """Answer the doorbell of the user's delayed activation at *at*."""
        doorbell = next(each for each in self.post.doorbells if each.lost.user == user)
        answer_doorbell(doorbell, replace(self.deps, clock=lambda: T0 + at), self.late.append)


HouseMaker = Callable[..., House]


@pytest.fixture(name="house")
def _house(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> HouseMaker:
    def make(*campaigns: Campaign, **caps: Quota) -> House:
        return House(redis_client, mongodb, campaigns, caps)

    return make


def test_a_cap_holds_for_all_campaigns_of_a_channel_and_rolls(house: HouseMaker) -> None:
    """Two popups an hour, over all campaigns: the third is recorded. An hour after the first there is room for one."""
    home = house(
        campaign(channel="popup", name="a"),
        campaign(ADD, channel="popup", name="b"),
        popup=Quota(2, HOUR),
    )
    shown = [bool(home.send("anna", event, at)) for at, event in [(0, "pay"), (1, "add"), (2, "pay"), (3, "add")]]
    assert (shown, home.gates()) == ([True, True, False, False], ["cap", "cap"])
    assert not home.send("anna", "pay", HOUR - 1)
    assert home.send("anna", "pay", HOUR)
    assert not home.send("anna", "add", HOUR)
    assert home.send("bob", "pay", HOUR), "caps are per user"


def test_the_total_counts_all_channels(house: HouseMaker) -> None:
    """A popup counts for `total`, not for the e-mails' own cap."""
    home = house(
        campaign(channel="popup", name="a"), campaign(ADD, name="b"), total=Quota(1, HOUR), email=Quota(1, HOUR)
    )
    home.send("anna", "pay", 0)
    home.send("anna", "add", 1)
    home.send("anna", "add", HOUR)
    assert (home.gates(), len(home.post.queued)) == (["cap"], 1)


def test_rearm_keeps_a_campaign_from_coming_again(house: HouseMaker) -> None:
    """Once a day, and at most three times in 30 days. Other users and other campaigns are not affected."""
    limits = Limits(again_after=DAY, max=Quota(3, 30 * DAY))
    home = house(campaign(limits=limits, name="a"), campaign(ADD, name="b"))
    for at in (0, DAY - 1, DAY, 2 * DAY, 3 * DAY, 30 * DAY):
        home.send("anna", "pay", at)
    home.send("anna", "add", 1)
    assert [each.at - T0 for each in home.post.queued if each.campaign == "a"] == [0, DAY, 2 * DAY, 30 * DAY]
    assert (home.gates(), len(home.post.queued)) == (["rearm", "rearm"], 5)


def test_a_cap_is_never_exceeded_by_events_at_the_same_time(house: HouseMaker) -> None:
    """16 concurrent events of one user, ten rounds: three popups and 13 records each time."""
    home = house(campaign(channel="popup"), popup=Quota(3, DAY))
    for n in range(10):
        user = f"user-{n}"
        answers = together(16, lambda m, user=user: home.send(user, "pay", 0, message_id=f"{user}-{m}"))
        assert sum(map(len, answers)) == 3
    assert Counter(home.gates()) == {"cap": 130}


def test_a_repeated_event_takes_no_second_place_in_a_cap(house: HouseMaker) -> None:
    """The same message twice returns the same popup twice, and counts once."""
    home = house(campaign(channel="popup"), popup=Quota(2, DAY))
    first, again = (home.send("anna", "pay", 0, message_id="m") for _ in range(2))
    assert first == again != []
    assert home.send("anna", "pay", 1)
    assert not home.send("anna", "pay", 2)


def test_one_popup_at_a_time_the_most_important(house: HouseMaker) -> None:
    """Of three popups the highest priority wins, ties by id. The others count for no cap. E-mails go out as well."""
    home = house(
        campaign(channel="popup", name="b", priority=5),
        campaign(channel="popup", name="a", priority=5),
        campaign(channel="popup", name="c", priority=9, limits=Limits(again_after=DAY)),
        campaign(name="mail"),
        popup=Quota(2, DAY),
    )
    winners = [home.send("anna", "pay", at) for at in (0, 1, 2)]
    assert [len(each) for each in winners] == [1, 1, 0]
    assert [each.campaign for each in home.post.shown] == ["c", "a"]
    assert Counter((each.campaign, each.suppressed) for each in home.post.recorded) == {
        ("a", "priority"): 1,
        ("b", "priority"): 1,
        ("c", "rearm"): 2,
        ("a", "cap"): 1,
        ("b", "cap"): 2,
    }
    assert len(home.post.queued) == 3


def test_the_holdout_is_recorded_and_takes_no_place(house: HouseMaker) -> None:
    """About a fifth of the users, always the same ones for a campaign. Their records say `holdout`."""
    home = house(campaign(holdout=2000))
    for n in range(300):
        home.send(f"user-{n}", "pay", 0)
        home.send(f"user-{n}", "pay", 1)
    held = [each.user for each in home.post.recorded]
    assert set(home.gates()) == {"holdout"}
    assert all(count == 2 for count in Counter(held).values())
    assert 30 <= len(set(held)) <= 90
    assert not {each.user for each in home.post.queued} & set(held)


def test_outside_its_schedule_a_campaign_only_records(house: HouseMaker) -> None:
    """Before its start, at its end, and on another day: each is recorded."""
    at_work = Schedule(zone="UTC", begin=T0, end=T0 + 2 * DAY, days=[0, 1, 2, 3, 4, 5, 6])
    home = house(campaign(schedule=at_work))
    for at in (-1, 0, 2 * DAY - 1, 2 * DAY):
        home.send("anna", "pay", at)
    assert [each.at - T0 for each in home.post.queued] == [0, 2 * DAY - 1]
    assert home.gates() == ["schedule", "schedule"]


def test_a_delayed_activation_waits_for_its_time(house: HouseMaker) -> None:
    """The match schedules a doorbell and queues nothing. At the due time, and not before, a wake hands it over once."""
    home = house(cart())
    home.send("anna", "add", 0)
    assert (home.post.queued, [each.lost.due - T0 for each in home.post.doorbells]) == ([], [30 * MINUTE])
    assert home.wake(30 * MINUTE - 1) == Woken(0, 0)
    assert home.wake(30 * MINUTE) == Woken(0, 0, delayed=1)
    assert home.wake(31 * MINUTE) == Woken(0, 0)
    (mail,) = home.post.queued
    assert (mail.at - T0, mail.due - T0) == (0, 30 * MINUTE)
    assert (home.unacknowledged("anna"), home.timers("anna")) == (0, {})


def test_its_doorbell_may_ring_early_twice_late_or_never(house: HouseMaker) -> None:
    """An early doorbell rings again. One on time hands over. A repetition, or a wake beside it, sends nothing more.

    After the grace, a doorbell that finds nothing records `state_lost`, which changes no row that exists.
    """
    home = house(cart())
    home.send("anna", "add", 0)
    home.answer_doorbell("anna", 25 * MINUTE)
    assert (home.post.queued, [at - T0 for _, at in home.post.again]) == ([], [30 * MINUTE])
    home.answer_doorbell("anna", 30 * MINUTE)
    home.answer_doorbell("anna", 30 * MINUTE)
    home.wake(2 * HOUR)
    assert (len(home.post.queued), home.post.recorded) == (1, [])
    assert [at - T0 for _, at in home.post.again] == [30 * MINUTE, 45 * MINUTE]
    home.answer_doorbell("anna", 24 * HOUR)
    assert (len(home.post.queued), home.gates()) == (1, ["state_lost"])


def test_an_order_cancels_what_is_delayed(house: HouseMaker) -> None:
    """The cancelled activation is recorded under its own id, and its doorbell does nothing. A later cart waits anew."""
    home = house(cart())
    home.send("anna", "add", 0)
    home.send("anna", "order", 10 * MINUTE)
    home.answer_doorbell("anna", 30 * MINUTE)
    home.wake(2 * HOUR)
    ring = home.post.doorbells[0]
    assert home.post.queued == []
    assert [(each.id, each.suppressed) for each in home.post.recorded] == [(ring.lost.id, "cancelled")]
    assert home.post.cancelled == [ring.key]
    home.send("anna", "add", 3 * HOUR)
    home.wake(4 * HOUR)
    assert len(home.post.queued) == 1


def test_a_repeat_of_the_match_does_not_bring_back_what_was_cancelled(house: HouseMaker) -> None:
    """After add and order, the tracker sends `add` again: nothing is sent, now or later."""
    home = house(cart())
    home.send("anna", "add", 0, message_id="m")
    home.send("anna", "order", MINUTE)
    home.send("anna", "add", 0, message_id="m", received=40 * MINUTE)
    home.wake(2 * HOUR)
    assert home.post.queued == []


def test_cancelling_is_per_run(house: HouseMaker) -> None:
    """An order of one cart leaves the other e-mail waiting. An order without a cart cancels both."""
    home = house(cart(trigger_source=ADD | {"per": ["cart_id"]}))
    for user in ("anna", "bob"):
        home.send(user, "add", 0, cart_id="1")
        home.send(user, "add", 1, cart_id="2")
    home.send("anna", "order", 2, cart_id="2")
    home.send("bob", "order", 2)
    home.wake(HOUR)
    assert [(each.user, each.per) for each in home.post.queued] == [("anna", '["1"]')]
    assert Counter(each.user for each in home.post.recorded) == {"anna": 1, "bob": 2}


def test_a_cancellation_always_reaches_the_ledger(house: HouseMaker, valkey_url: str) -> None:
    """2,000 times an order beside a doorbell: every order leaves a record, and the ledger decides.

    cancel, claim   the claimed firing says cancelled: nothing is sent
    claim, cancel   both the activation and the record go to the ledger: the first one gets the row
    """
    home = house(cart())
    users = [f"user-{n}" for n in range(2000)]
    for user in users:
        home.send(user, "add", 0)
    rows = UserStateStore(lambda: connect(valkey_url, cluster=False))
    rng = random.Random(7)
    outcomes: Counter[str] = Counter()
    for start in range(0, len(users), 50):
        group = users[start : start + 50]
        doorbells = {each.lost.user: each for each in home.post.doorbells if each.lost.user in set(group)}
        other = replace(home.environment(home.current_rulesets()), states=rows, clock=lambda: T0 + 30 * MINUTE)

        def answer(
            order: Sequence[str] = rng.sample(group, 50),
            doorbells: dict[str, Doorbell] = doorbells,
            deps: Deps = other,
        ) -> None:
            for user in order:
                answer_doorbell(doorbells[user], deps, home.late.append)

        thread = threading.Thread(target=answer)
        thread.start()
        for user in rng.sample(group, 50):
            home.send(user, "order", 30 * MINUTE - 1)
        thread.join()
        queued = Counter(each.user for each in home.post.queued if each.user in doorbells)
        assert set(queued.values()) <= {1}
        outcomes.update(both=len(queued), cancelled=50 - len(queued))
        assert all(home.clean(user) for user in group)
    assert {each.user for each in home.post.recorded} == set(users)
    assert {each.suppressed for each in home.post.recorded} == {"cancelled"}
    assert outcomes["both"] > 100 < outcomes["cancelled"]


def test_what_is_held_after_its_due_time_can_be_called_back(house: HouseMaker) -> None:
    """It was handed over, and may be held until the morning. For more than a day an order calls it back, once."""
    home = house(cart(max_lateness=HOUR, trigger_source=ADD | {"per": ["cart_id"]}))
    for user in ("anna", "bob", "cleo"):
        home.send(user, "add", 0, cart_id="1", name="tea" * 100)
    home.wake(30 * MINUTE)
    home.send("anna", "order", 30 * MINUTE + DAY, cart_id="2")
    assert home.post.recorded == []
    home.send("anna", "order", 30 * MINUTE + DAY, cart_id="1")
    home.send("anna", "order", 31 * MINUTE + DAY)
    home.send("bob", "order", 90 * MINUTE + DAY)
    (record,) = home.post.recorded
    (mail,) = [each for each in home.post.queued if each.user == "anna"]
    assert record == msgspec.structs.replace(mail, suppressed="cancelled", attributes={})
    assert b"tea" not in (home.row("cleo")[b"p"])
    assert all(home.clean(user) for user in ("anna", "bob", "cleo"))


@pytest.mark.parametrize("bits", [CANCEL, GOAL])
def test_what_could_not_be_handed_over_can_still_be_cancelled(house: HouseMaker, bits: int) -> None:
    """The queue fails when it is due. The order comes before the queue recovers, so nothing is sent."""
    home = house(cart(watchers=[Matcher(["order"], bits)], goal=Goal(DAY)))
    home.send("anna", "add", 0)
    home.post.refused = 9
    with pytest.raises(Unavailable):
        home.wake(30 * MINUTE)
    home.post.refused = 0
    home.send("anna", "order", 31 * MINUTE)
    home.wake(HOUR)
    assert (home.gates(), home.post.queued) == (["cancelled" if bits == CANCEL else "goal"], [])
    assert len(home.post.converted) == (bits == GOAL)
    assert home.clean("anna")


def test_a_late_acknowledgement_leaves_a_cancellation(house: HouseMaker) -> None:
    """Claimed, then cancelled by a caller that dies, then acknowledged: the record is still written.

    wake   claim ────────────────────────▶ queue ─▶ acknowledge
    event          cancel ─▶ (dies)                                    a later wake finds the record
    """
    home = house(cart())
    home.send("anna", "add", 0)
    rows = home.deps.states
    claimed = rows.claim(home.post.doorbells[0].key, T0 + 30 * MINUTE, 30_000).firing
    assert claimed
    home.post.broken = True
    with pytest.raises(Unavailable):
        home.send("anna", "order", 31 * MINUTE)
    home.post.broken = False
    rows.acknowledge([claimed])
    assert home.gates() == []
    home.wake(HOUR)
    assert home.gates() == ["cancelled"]
    assert home.clean("anna")


def test_a_goal_converts_what_was_delivered_in_time(house: HouseMaker) -> None:
    """A purchase within a week of the e-mail converts it, once. A later one does not, nor one before the match."""
    home = house(campaign(goal=Goal(7 * DAY), watchers=[Matcher(["buy"], GOAL)]))
    home.send("anna", "buy", -1)
    home.send("anna", "pay", 0)
    home.send("anna", "buy", DAY)
    home.send("anna", "buy", DAY + 1)
    home.send("bob", "pay", 0)
    home.send("bob", "buy", 7 * DAY)
    (converted,) = home.post.converted
    assert (converted.id, converted.at) == (home.post.queued[0].id, T0 + DAY)
    assert home.wake(8 * DAY) == Woken(0, 0)


def test_a_goal_counts_for_the_holdout_too(house: HouseMaker) -> None:
    """Uplift compares both groups, so a held-out activation converts as well."""
    home = house(campaign(holdout=10_000, goal=Goal(7 * DAY), watchers=[Matcher(["buy"], GOAL)]))
    home.send("anna", "pay", 0)
    home.send("anna", "buy", DAY)
    assert home.gates() == ["holdout"]
    assert [each.id for each in home.post.converted] == [home.post.recorded[0].id]


def test_a_goal_reached_meanwhile_cancels_the_delay(house: HouseMaker) -> None:
    """That is the default. A campaign that opts out of it sends all the same."""
    for wanted in (True, False):
        home = house(cart(goal=Goal(DAY), watchers=[Matcher(["order"], GOAL)], cancel_on_goal=wanted))
        home.send(f"anna-{wanted}", "add", 0)
        home.send(f"anna-{wanted}", "order", MINUTE)
        home.wake(HOUR)
        assert (home.gates(), len(home.post.queued)) == (["goal"] * wanted, 0 if wanted else 1)
        home.database.rulesets.delete_many({})


def test_an_order_also_cancels_for_a_user_who_is_no_longer_a_target(house: HouseMaker) -> None:
    """The user has left the group meanwhile. An order still cancels what waits."""
    home = house(cart(everyone=False, groups=["vip"]))
    home.target(1, anna=["vip"])
    home.send("anna", "add", 0)
    home.publish_targets(2)
    home.rulesets.reload()
    home.send("anna", "order", MINUTE)
    home.wake(HOUR)
    assert (home.gates(), home.post.queued) == (["cancelled"], [])


def test_an_absence_may_be_delayed_too(house: HouseMaker) -> None:
    """No order for 30 minutes, and a delay of ten: due 40 minutes after the cart."""
    trigger = {**ADD, "unless": {"event": "order", "for": "30m"}}
    home = house(campaign(trigger, delay=10 * MINUTE))
    home.send("anna", "add", 0)
    assert home.wake(30 * MINUTE + GRACE) == Woken(1, 0)
    assert home.wake(40 * MINUTE - 1) == Woken(0, 0)
    assert home.wake(40 * MINUTE) == Woken(0, 0, delayed=1)
    assert [each.due - T0 for each in home.post.queued] == [40 * MINUTE]


def test_a_state_that_was_lost_is_recorded_by_the_doorbell(house: HouseMaker, redis_client: Redis) -> None:
    """The store is empty when the doorbell comes: a record, or the e-mail itself if the campaign asks for that."""
    for wanted in (False, True):
        home = house(cart(send_if_lost=wanted))
        home.send("anna", "add", 0)
        redis_client.flushall()
        home.send("anna", "add", MINUTE)  # a new state has begun
        home.answer_doorbell("anna", 30 * MINUTE)
        expected = (["state_lost"] * (not wanted), 1 if wanted else 0)
        assert (home.gates(), len(home.post.queued)) == expected
        home.database.rulesets.delete_many({})
        redis_client.flushall()


def test_too_many_waiting_activations_are_refused(house: HouseMaker) -> None:
    """20 activations of a campaign may wait for a user. The 21st is recorded, so the row stays small."""
    home = house(cart())
    for n in range(25):
        home.send("anna", "add", n)
    assert home.gates() == ["crowded"] * 5
    home.wake(HOUR)
    assert len(home.post.queued) == 20


def test_events_that_only_cancel_leave_a_row_only_while_an_older_start_may_come(
    house: HouseMaker, redis_client: Redis
) -> None:
    """An order of a user without waiting activations costs one command, and a few bytes for `max_backdate`."""
    home = house(cart())
    home.send("anna", "order", 0)
    (row,) = redis_client.keys("*:u:*")
    assert set(redis_client.hgetall(row)) == {b"n"}
    assert 0 < redis_client.pttl(row) <= 5 * MINUTE
    home.send("anna", "add", SECOND)
    assert redis_client.pttl(row) > DAY


def test_the_row_forgets_what_no_limit_asks_for_any_more(house: HouseMaker, redis_client: Redis) -> None:
    """1,000 popups under a cap of three: the row keeps three times, and a week later none."""
    home = house(campaign(channel="popup"), popup=Quota(3, 1000))
    for n in range(300):
        home.send("anna", "pay", n * 400)
    row = keys.row(keys.partition("demo", "anna"), "demo", "anna")
    (times,) = msgspec.msgpack.decode(redis_client.hget(row, "c")).values()  # type: ignore[arg-type]
    assert len(times) == 3


def test_what_happened_is_counted_per_day(
    house: HouseMaker, mongodb: Database[dict[str, Any]], redis_client: Redis
) -> None:
    """Activations and gates of a day reach `stats`. A database that fails at first loses none."""
    home = house(campaign(channel="popup"), popup=Quota(1, DAY))
    for n in range(3):
        home.send("anna", "pay", n)
    home.send("bob", "pay", 0)  # the only counter of its partition
    rows, clock = UserStateStore(lambda: home.redis), iter(range(100_000, 10**9, 100_000))
    with MongoClient[dict[str, Any]]("127.0.0.1", 1, serverSelectionTimeoutMS=100) as away:
        Stats(rows, away["x"], lambda: next(clock), log_warning).drain(range(1024))
    home.send("anna", "pay", 3)
    for _ in range(3):
        Stats(rows, mongodb, lambda: next(clock), log_warning).drain(range(1024))
    (day,) = mongodb.stats.find()
    assert (day["campaign"], day["activated"], day["cap"]) == ("test", 2, 3)
    assert redis_client.keys("*:n:drained") == []


def test_counts_that_were_never_confirmed_count_once(house: HouseMaker, mongodb: Database[dict[str, Any]]) -> None:
    """A batch was written but never confirmed: it is written again, and counts once. Later counts follow."""
    home = house(campaign())
    rows, clock = UserStateStore(lambda: home.redis), iter(range(100_000, 10**9, 100_000))

    class Forgetful(UserStateStore):
        def confirm_drained(self, batch: Batch) -> None:
            raise Unavailable(f"{batch.id} timed out")

    for n in range(4):
        for user in ("anna", "bob"):
            home.send(user, "pay", n)
        Stats(Forgetful(lambda: home.redis) if n < 3 else rows, mongodb, lambda: next(clock), log_warning).drain(
            range(1024)
        )
    assert (mongodb.stats.find_one() or {})["activated"] == 2
    stats = [Stats(UserStateStore(lambda: home.redis), mongodb, lambda: next(clock), log_warning) for _ in range(8)]
    together(8, lambda who: stats[who].drain(range(1024)))
    stats[0].drain(range(1024))
    assert (mongodb.stats.find_one() or {})["activated"] == 8


def test_daily_figures_take_the_time_that_is_left(house: HouseMaker, mongodb: Database[dict[str, Any]]) -> None:
    """Each wake drains some partitions in turn. The next wakes drain those that there was no time for."""
    home = house(campaign())
    for n in range(200):
        home.send(f"user-{n}", "pay", 0)
    clock = iter(range(100_000, 10**9, 100_000))
    stats = Stats(UserStateStore(lambda: home.redis), mongodb, lambda: next(clock), log_warning)
    arrived: list[int] = []
    while sum(arrived) < 200:
        turns = iter((True, False))
        stats.drain(range(1024), lambda turns=turns: next(turns))  # type: ignore[misc]
        arrived.append((mongodb.stats.find_one() or {})["activated"] - sum(arrived))
    assert len(arrived) == 8
    assert all(10 < count < 50 for count in arrived)


def test_a_late_word_of_an_arrival_does_not_end_the_next_batch(house: HouseMaker) -> None:
    """Only its own id deletes a batch."""
    home = house(campaign())
    home.send("anna", "pay", 0)
    rows = home.deps.states
    (first,) = rows.drain(range(1024), "b1")
    rows.confirm_drained(first)
    home.send("anna", "pay", 1)
    (second,) = rows.drain(range(1024), "b2")
    rows.confirm_drained(first)
    assert list(rows.drain(range(1024), "b3")) == [second]
    assert (second.id, list(second.counts.values())) == ("b2", [1])


def test_evicted_runs_are_counted_and_told(house: HouseMaker, capsys: pytest.CaptureFixture[str]) -> None:
    """The 21st cart of a user evicts the first one. The log and the counters report it."""
    trigger = {"sequence": [{"event": "add", "times": 2}], "within": "1h", "per": ["cart_id"]}
    home = house(campaign(trigger))
    for n in range(22):
        home.send("anna", "add", n, cart_id=n)
    assert capsys.readouterr().out.count("a run was evicted") == 2
    counted = home.redis.hgetall(keys.counters(keys.partition("demo", "anna")))
    assert list(counted.values()) == [b"2"]
    assert b"evicted" in next(iter(counted))


def test_an_activation_has_the_id_of_its_match_and_run() -> None:
    """Equal for equal parts, different where any part differs."""
    one = activation_id("demo", "anna", "key", "last")
    assert one == activation_id("demo", "anna", "key", "last") != activation_id("demo", "anna", "key", "last2")
    assert (
        len({activation_id(*parts) for parts in [("a", "b", "c", "d"), ("a", "bc", "", "d"), ("ab", "", "c", "d")]})
        == 3
    )


def test_delays_survive_a_doorbell_that_cannot_be_scheduled(house: HouseMaker) -> None:
    """If neither queue nor scheduler takes the doorbell, the event gets a 503, and the wake finds what is due."""
    home = house(cart())
    home.post.mute = True
    with pytest.raises(Unavailable):
        home.send("anna", "add", 0)
    assert home.wake(30 * MINUTE + SECOND) == Woken(0, 0, delayed=1)
    assert len(home.post.queued) == 1


def test_an_event_is_answered_once_its_doorbell_exists(house: HouseMaker) -> None:
    """Until then the caller repeats it. What the event matched besides is delivered all the same, once."""
    home = house(cart(), campaign(ADD, name="now"), campaign(ADD, channel="popup", name="pop"))
    home.post.mute = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            home.send("anna", "add", 0, message_id="m")
    assert ({each.campaign for each in home.post.queued}, home.post.doorbells) == ({"now"}, [])
    home.post.mute = False
    (popup,) = home.send("anna", "add", 0, message_id="m")
    assert (popup["id"], len(home.post.doorbells)) == (home.post.shown[0].id, 1)
    home.wake(30 * MINUTE)
    assert Counter(each.id for each in home.post.queued).total() == 4
    assert len({each.id for each in home.post.queued}) == 2


def test_a_repeat_rings_even_after_the_due_time(house: HouseMaker) -> None:
    """The first call may have failed after the match; then the store may lose it before any wake."""
    home = house(cart())
    home.post.mute = True
    with pytest.raises(Unavailable):
        home.send("anna", "add", 0, message_id="m")
    home.post.mute = False
    home.send("anna", "add", 0, message_id="m", received=40 * MINUTE)
    assert len(home.post.doorbells) == 1


def test_the_holdout_obeys_the_limits_of_its_campaign_and_takes_no_place(house: HouseMaker) -> None:
    """Once a day, for held-out users as well. The site's cap stays free for other campaigns."""
    home = house(
        campaign(channel="popup", name="a", holdout=10_000, limits=Limits(again_after=DAY), priority=9),
        campaign(channel="popup", name="b"),
        popup=Quota(2, DAY),
    )
    shown = [len(home.send("anna", "pay", at)) for at in (0, 1, 2, DAY)]
    assert shown == [1, 1, 0, 1]
    by_a = [each.suppressed for each in home.post.recorded if each.campaign == "a"]
    assert by_a == ["holdout", "rearm", "rearm", "holdout"]


def test_the_holdout_waits_for_its_delay_as_others_do(house: HouseMaker) -> None:
    """Before the due time, a goal or a cancellation applies to both groups. Later it converts in both."""
    for holdout in (0, 10_000):
        home = house(
            cart(holdout=holdout, goal=Goal(DAY), watchers=[Matcher(["order"], GOAL), Matcher(["no"], CANCEL)])
        )
        for user in ("anna", "bob", "cleo", "dora"):
            home.send(user, "add", 0)
        home.send("anna", "order", MINUTE)
        home.send("bob", "no", MINUTE)
        assert home.gates() == ["goal", "cancelled"]
        home.wake(30 * MINUTE)
        home.send("cleo", "order", 31 * MINUTE)
        left = [*home.post.queued, *home.post.recorded[2:]]
        assert {(each.user, each.suppressed) for each in left} == {
            ("cleo", "holdout" if holdout else None),
            ("dora", "holdout" if holdout else None),
        }
        assert {each.due for each in left} == {T0 + 30 * MINUTE}
        assert [each.id for each in home.post.converted] == [each.id for each in left if each.user == "cleo"]
        assert all(home.clean(user) for user in ("anna", "bob", "cleo", "dora"))
        home.database.rulesets.delete_many({})
        home.redis.flushall()


def test_a_shorter_delay_does_not_end_what_waits_for_the_longer_one(house: HouseMaker) -> None:
    """A row lives as long as the longest delay of an earlier ruleset needs, whatever comes meanwhile."""
    home = house(cart(delay=30 * DAY))
    home.send("anna", "add", 0)
    row = keys.row(keys.partition("demo", "anna"), "demo", "anna")
    before: Any = home.redis.pttl(row)
    home.publish([cart(delay=MINUTE)], generation=1)
    home.rulesets.reload()
    home.send("anna", "add", 1)
    after: Any = home.redis.pttl(row)
    assert before - 10 * SECOND < after <= before
    home.send("anna", "order", 2)
    assert home.gates() == ["cancelled", "cancelled"]


@pytest.mark.parametrize("seed", range(3))
def test_a_replay_judges_as_the_live_system_does(house: HouseMaker, seed: int) -> None:
    """Random events of three users: every match gets the same gate live and in the replay."""
    rng = random.Random(seed)
    campaigns = [
        campaign(channel="popup", name="a", priority=1, limits=Limits(max=Quota(4, HOUR))),
        campaign(ADD, channel="popup", name="b", holdout=5000),
        campaign(
            {"sequence": [{"event": ["add", "pay"]}]}, channel="popup", name="c", limits=Limits(again_after=MINUTE)
        ),
        campaign(name="d"),
    ]
    caps = {"popup": Quota(3, 10 * MINUTE), "total": Quota(5, 10 * MINUTE)}
    home = house(*campaigns, **caps)
    events, at = [], 0
    for n in range(800):
        at += rng.choice((0, SECOND, 20 * SECOND, MINUTE, 5 * MINUTE))
        user, name = f"user-{rng.randrange(8)}", rng.choice(("add", "pay"))
        events.append(Recorded(user, name, f"m{n}", {}, T0 + at))
        home.send(user, name, at, message_id=f"m{n}")
    live = [*home.post.shown, *home.post.recorded, *home.post.queued]
    judged = Gates([LiveCampaign(each, "demo", caps) for each in campaigns]).judge(Replay(campaigns).run(events))
    backtest = Counter((fire.user, fire.campaign, fire.message_ids[-1], gate) for fire, gate in judged)
    assert backtest == Counter((each.user, each.campaign, each.message_id, each.suppressed) for each in live)
    assert {gate for *_, gate in backtest} == {None, "rearm", "cap", "priority", "holdout"}
