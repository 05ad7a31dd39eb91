"""How late timers are handled, as the Decider's log reports to CloudWatch. The tests set the clock."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aws_lambda_powertools import Logger, Metrics
from pymongo.database import Database
from redis import Redis

from decider import keys
from decider.handler import create_handler
from decider.wake import PAGE
from shared.contracts import Activation, Decide, Event
from shared.errors import Unavailable
from shared.observability import NAMESPACE, Observability
from shared.ruleset import Campaign
from tests.integration.decider.test_gates import ADD, HOUR, campaign, cart
from tests.integration.decider.test_wake import GRACE, LEFT, MINUTE, SECOND, T0, WAIT, Post, Shop, neighbours
from tests.support.builders import compiled
from tests.support.decider_harness import decider_deps
from tests.support.lambdas import Context

LATENESS, AGAIN = "TimerLateness", "HandoversRepeated"


class Clinic(Shop):
    """A published site behind the Decider's own handler; times are ms since `T0`."""

    def __init__(self, redis: Redis, database: Database[dict[str, Any]], campaigns: tuple[Campaign, ...]) -> None:
        super().__init__(redis, database, campaigns)
        self.now = 0
        self.handed: list[dict[str, Any]] = []  # invocations of itself

        def clock() -> int:
            return T0 + self.now + self.post.spent

        self.deps = decider_deps(
            self.rulesets,
            redis,
            database,
            self.post,
            clock=clock,
            observability=Observability(Logger(service="decider"), Metrics(namespace=NAMESPACE, service="decider")),
            invoke_async=lambda _, payload: self.handed.append(payload),
        )
        self.handler = create_handler(self.deps)

    def see_to(self, now: int) -> None:
        """Wake at *now*, over all partitions."""
        self.now = now
        self.handler({"type": "wake"}, Context())

    def answer_doorbells(self, now: int, *users: str) -> None:
        """Answer the doorbells of *users* at *now*, in one batch."""
        self.now = now
        rings = [each for user in users for each in self.post.doorbells if each.lost.user == user]
        bodies = [msgspec.json.encode(each).decode() for each in rings]
        answer = self.handler({"Records": [{"messageId": "m", "body": body} for body in bodies]}, Context())
        assert (len(bodies), answer) == (len(users), {"batchItemFailures": []})

    def track(self, now: int, user: str, event: str, *, at: int | None = None, received: int | None = None) -> None:
        """Send an event of *now*, or of *at* that is reported now. *received*: by another clock."""
        self.now = now
        received = now if received is None else received
        one = Event(user, event, f"{user} {event} {now}", T0 + (now if at is None else at), T0 + received)
        self.handler(msgspec.to_builtins(Decide("demo", [one], deadline=T0 + now + 2000)), Context())


ClinicMaker = Callable[..., Clinic]
Told = Callable[[], dict[str, list[float]]]


@pytest.fixture(name="clinic")
def _clinic(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ClinicMaker:
    return lambda *campaigns: Clinic(redis_client, mongodb, campaigns or (left(),))


@pytest.fixture(name="told")
def _told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Return a function that returns the metric values logged since its last call, by name."""

    def told() -> dict[str, list[float]]:
        values: dict[str, list[float]] = defaultdict(list)
        for line in capsys.readouterr().out.splitlines():
            if '"CloudWatchMetrics"' in line and '"ColdStart"' not in line:
                logged = json.loads(line)
                (directive,) = logged["_aws"]["CloudWatchMetrics"]
                assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["service"]])
                assert logged["service"] == "decider"
                for metric in directive["Metrics"]:
                    assert metric["Unit"] == ("Milliseconds" if metric["Name"] == LATENESS else "Count")
                    assert len(logged[metric["Name"]]) <= 100, "CloudWatch takes no more in one line"
                    values[metric["Name"]] += logged[metric["Name"]]
        return values

    return told


def left(trigger: dict[str, Any] = LEFT, **changes: Any) -> Campaign:
    """Return a campaign that sends an e-mail 30 minutes after an `add` without an `order`, with *changes*."""
    return msgspec.structs.replace(compiled(trigger, channel="email", name="left"), **changes)


@pytest.mark.parametrize("late", [0, 1, 17 * SECOND, HOUR])
def test_an_absence_is_late_from_the_end_of_its_grace(clinic: ClinicMaker, told: Told, late: int) -> None:
    """Nothing is reported before; then the lateness of the wake, once."""
    shop = clinic()
    shop.track(0, "anna", "add")
    shop.see_to(WAIT + GRACE - 1)
    assert LATENESS not in told()
    shop.see_to(WAIT + GRACE + late)
    assert told()[LATENESS] == [late]
    shop.see_to(WAIT + GRACE + late + MINUTE)
    assert LATENESS not in told()


@pytest.mark.parametrize("late", [0, 1, 40 * SECOND])
@pytest.mark.parametrize("way", ["wake", "bell"])
def test_a_delay_is_late_from_its_due_time(clinic: ClinicMaker, told: Told, way: str, late: int) -> None:
    """An early doorbell reports nothing. One at the due time or later reports its lateness once."""
    shop = clinic(cart())
    shop.track(0, "anna", "add")
    shop.answer_doorbells(WAIT - 1, "anna")
    shop.see_to(WAIT - 1)
    assert LATENESS not in told()
    shop.see_to(WAIT + late) if way == "wake" else shop.answer_doorbells(WAIT + late, "anna")
    counted = told()
    assert (counted[LATENESS], sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == ([late], 1, 0)
    shop.answer_doorbells(WAIT + late, "anna")
    shop.see_to(WAIT + late + MINUTE)
    counted = told()
    assert (counted[LATENESS], sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == ([], 0, 0)


def test_one_wake_tells_each_of_its_timers(clinic: ClinicMaker, told: Told) -> None:
    """Absences and delays of all users count, held-out users included: they wait as long."""
    nobody = campaign(ADD, name="nobody", delay=10 * MINUTE, holdout=10_000)
    shop = clinic(left(), cart(name="cart", delay=20 * MINUTE), nobody)
    for n, user in enumerate(("anna", "bob", "cleo")):
        shop.track(n * SECOND, user, "add")
    shop.see_to(WAIT + GRACE + 2 * SECOND)
    counted = told()
    absences, delays = [0, SECOND, 2 * SECOND], [10 * MINUTE + GRACE + n * SECOND for n in range(3)]
    longer = [20 * MINUTE + GRACE + n * SECOND for n in range(3)]
    assert sorted(counted[LATENESS]) == absences + delays + longer
    assert (sum(counted["AbsencesFired"]), sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == (3, 6, 0)


def test_one_batch_of_doorbells_tells_each_of_its_timers(clinic: ClinicMaker, told: Told) -> None:
    """Three doorbells in one invocation, each with its own due time."""
    shop = clinic(cart())
    for n, user in enumerate(("anna", "bob", "cleo")):
        shop.track(n, user, "add")
    shop.answer_doorbells(WAIT + 500, "cleo", "anna", "bob")
    assert told()[LATENESS] == [498, 500, 499]


def test_hundreds_of_timers_are_told_one_by_one(clinic: ClinicMaker, told: Told) -> None:
    """A line may hold 100 values. Further values go to further lines; none is lost or repeated."""
    shop = clinic()
    users = [f"user-{n}" for n in range(250)]
    for n, user in enumerate(users):
        shop.send(user, "add", n)
    shop.see_to(WAIT + GRACE + len(users))
    counted = told()
    assert sorted(counted[LATENESS]) == [1 + n for n in range(250)]
    assert counted["AbsencesFired"] == [250]


def test_who_waits_for_a_page_is_later_by_that(clinic: ClinicMaker, told: Told) -> None:
    """If handing over a page takes a second, the second page is handled a second after the first."""
    shop = clinic()
    for user in neighbours(3 * PAGE):
        shop.send(user, "add", 0)
    shop.post.takes = SECOND
    shop.see_to(WAIT + GRACE)
    pages = Counter(told()[LATENESS])
    assert sum(pages.values()) > 2 * PAGE
    assert {late: min(count, PAGE) for late, count in pages.items() if late < 2 * SECOND} == {0: PAGE, SECOND: PAGE}


def test_where_nothing_is_due_nothing_is_told(clinic: ClinicMaker, told: Told) -> None:
    """Zeros would improve the average: a wake without timers, events and matches report none."""
    shop = clinic(left(), campaign(ADD, name="at-once"))
    shop.see_to(0)
    shop.track(0, "anna", "add")
    shop.track(1, "anna", "order")
    shop.see_to(HOUR)
    assert LATENESS not in told()
    assert [each.campaign for each in shop.post.queued] == ["at-once"]


def test_what_an_event_resolves_is_no_timer(clinic: ClinicMaker, told: Told) -> None:
    """An order an hour after the deadline fires the absence itself, so no wake reports it, then or later."""
    shop = clinic()
    shop.track(0, "anna", "add")
    shop.track(WAIT + HOUR, "anna", "order")
    shop.see_to(WAIT + 2 * HOUR)
    assert shop.mails() == [("anna", WAIT)]
    assert LATENESS not in told()


def test_what_was_cancelled_is_no_timer(clinic: ClinicMaker, told: Told) -> None:
    """Neither its doorbell nor the wake that hands over its record reports a lateness."""
    shop = clinic(cart())
    shop.track(0, "anna", "add")
    shop.post.broken = True
    with pytest.raises(Unavailable):
        shop.track(WAIT - 30 * SECOND, "anna", "order")  # its record is due when the activation was
    shop.post.broken = False
    shop.see_to(WAIT)
    shop.answer_doorbells(WAIT, "anna")
    counted = told()
    assert (counted[LATENESS], sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == ([], 0, 1)
    assert [each.suppressed for each in shop.post.recorded] == ["cancelled"]


@pytest.mark.parametrize("waiting", ["absence", "delay"])
def test_what_is_reported_late_is_late_from_its_report(clinic: ClinicMaker, told: Told, waiting: str) -> None:
    """A phone was offline for hours: its wait has ended when the event arrives, so it could not be handled before.

    A clock ahead of ours on that phone does not make the lateness negative.
    """
    patient = {"max_backdate": "6h"}
    shop = clinic(left(LEFT | patient) if waiting == "absence" else cart(trigger_source=ADD | patient))
    shop.track(0, "anna", "add", at=-5 * HOUR)
    shop.see_to(40 * SECOND)
    assert told()[LATENESS] == [40 * SECOND]
    shop.track(MINUTE, "bob", "add", at=-5 * HOUR, received=MINUTE + 3 * SECOND)
    shop.see_to(MINUTE + SECOND)
    assert told()[LATENESS] == [0]


def test_an_absence_with_a_delay_has_two_timers(clinic: ClinicMaker, told: Told) -> None:
    """The wait, then the delay: each counts from its own due time."""
    shop = clinic(left(delay=10 * MINUTE))
    shop.track(0, "anna", "add")
    shop.see_to(WAIT + GRACE + 10 * SECOND)
    assert told()[LATENESS] == [10 * SECOND]
    shop.see_to(WAIT + 10 * MINUTE + 20 * SECOND)
    assert told()[LATENESS] == [20 * SECOND]


def test_a_delay_within_the_grace_is_late_from_the_end_of_the_grace(clinic: ClinicMaker, told: Told) -> None:
    """Two seconds into the five seconds of an absence's grace."""
    shop = clinic(left(delay=2 * SECOND))
    shop.track(0, "anna", "add")
    for now in (WAIT + GRACE, WAIT + GRACE + MINUTE):
        shop.see_to(now)
    assert told()[LATENESS] == [0, MINUTE]


@pytest.mark.parametrize(("made", "due"), [(left, WAIT + GRACE), (cart, WAIT)])
def test_a_timer_is_told_though_it_cannot_be_handed_over(clinic: ClinicMaker, told: Told, made: Any, due: int) -> None:
    """The wake fails, and reports its lateness. The later handover is a repetition, not another timer."""
    shop = clinic(made())
    shop.track(0, "anna", "add")
    shop.post.refused = 1
    with pytest.raises(Unavailable):
        shop.see_to(due + 5 * SECOND)
    assert told()[LATENESS] == [5 * SECOND]
    shop.see_to(due + 2 * MINUTE)
    counted = told()
    assert (counted[LATENESS], sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == ([], 0, 1)
    assert len(shop.post.queued) == 1


def test_a_delay_that_cannot_be_read_is_a_timer(clinic: ClinicMaker, told: Told) -> None:
    """Its note is garbage: handing it over fails, it is rescheduled, and its lateness counts from its due time."""
    shop = clinic(cart())
    shop.track(0, "anna", "add")
    place = keys.unacknowledged(keys.partition("demo", "anna"))
    stored: Any = shop.redis.hgetall(place)
    ((key, packed),) = stored.items()
    fire = msgspec.msgpack.decode(packed)
    shop.redis.hset(place, key, msgspec.msgpack.encode([*fire[:6], "[1]", *fire[7:]]))
    shop.answer_doorbells(WAIT + SECOND, "anna")
    counted = told()
    assert (counted[LATENESS], counted["TimersRescheduled"], shop.post.queued) == ([SECOND], [1], [])


def test_a_match_that_was_never_delayed_is_no_timer(clinic: ClinicMaker, told: Told) -> None:
    """It was decided but not handed over. The wake repeats that 30 seconds later."""
    shop = clinic(campaign())
    shop.post.refused = 1
    with pytest.raises(Unavailable):
        shop.track(0, "anna", "pay")
    shop.see_to(MINUTE)
    counted = told()
    assert (counted[LATENESS], sum(counted[AGAIN])) == ([], 1)


def test_a_delay_whose_state_was_lost_is_a_timer(clinic: ClinicMaker, told: Told, redis_client: Redis) -> None:
    """Its doorbell handles it all the same."""
    shop = clinic(cart())
    shop.track(0, "anna", "add")
    redis_client.flushall()
    shop.answer_doorbells(WAIT + 7 * SECOND, "anna")
    counted = told()
    assert (counted[LATENESS], sum(counted["DelaysEnded"]), sum(counted[AGAIN])) == ([7 * SECOND], 1, 0)
    assert [each.suppressed for each in shop.post.recorded] == ["state_lost"]


def test_others_go_on_at_once_where_a_wake_has_no_time_for_all(clinic: ClinicMaker) -> None:
    """Eight invocations take an eighth of the partitions each. Another follows each while timers are left."""
    shop = clinic()
    users = [f"user-{n}" for n in range(1500)]
    for user in users:
        shop.track(0, user, "add")
    shop.post.takes = 1500  # a wake has time for two pages
    shop.see_to(WAIT + GRACE)
    first = shop.handed.copy()
    assert len(shop.mails()) == 2 * PAGE
    assert [(each["first"], each["last"], each["hop"]) for each in first] == [
        (128 * n, 128 * n + 127, 1) for n in range(8)
    ]
    hops = []
    while shop.handed:
        request = shop.handed.pop(0)
        hops.append(request["hop"])
        shop.handler(request, Context())
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)
    assert hops.count(1) == hops.count(2) == 8
    assert max(hops) <= 3  # the last ones find nothing: a wake without time cannot know that


def test_a_chain_of_wakes_ends_before_the_next_minute(clinic: ClinicMaker) -> None:
    """However many timers are left: the scheduled wake follows, and Lambda would stop a longer chain."""
    shop = clinic()
    for user in neighbours(3 * PAGE):
        shop.track(0, user, "add")
    shop.post.takes = 1500
    shop.now = WAIT + GRACE
    for hop in (11, 12):
        shop.handler({"type": "wake", "last": 59, "hop": hop}, Context())
    assert [each["hop"] for each in shop.handed] == [12]


def test_a_doorbell_that_runs_into_a_bug_blocks_no_other(clinic: ClinicMaker, caplog: pytest.LogCaptureFixture) -> None:
    """Only that doorbell is redelivered. The log says what failed and where, and no user."""

    class Buggy(Post):
        def enqueue(self, activations: Sequence[Activation]) -> None:
            if "bob" in {each.user for each in activations}:
                raise KeyError("bob")
            super().enqueue(activations)

    shop = clinic(cart())
    shop.post = Buggy()
    shop.handler = create_handler(replace(shop.deps, deliveries=shop.post, doorbells=shop.post))
    users = ("anna", "bob", "carl")
    for user in users:
        shop.track(0, user, "add")
    shop.now = WAIT
    bodies = {ring.lost.user: msgspec.json.encode(ring).decode() for ring in shop.post.doorbells}
    answer = shop.handler({"Records": [{"messageId": user, "body": bodies[user]} for user in users]}, Context())
    assert answer == {"batchItemFailures": [{"itemIdentifier": "bob"}]}
    assert [each.user for each in shop.post.queued] == ["anna", "carl"]
    (said,) = (vars(record) for record in caplog.records if "returned to the queue" in record.getMessage())
    assert (said["levelname"], said["code"], said["sqs_message_id"]) == ("ERROR", "KeyError", "bob")
    assert "test_timer_lateness.py:" in said["at"]
