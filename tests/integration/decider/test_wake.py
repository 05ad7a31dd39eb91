"""A wake handles due absences and unacknowledged matches. The tests set the clock; the servers are real."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis
from redis.cluster import RedisCluster

from decider import keys, rulesets
from decider.activations import activation_id
from decider.ingest import ingest
from decider.ports import Deps
from decider.timers import ACK_TIMEOUT_MS
from decider.user_state import UserStateStore
from decider.wake import PAGE, wake
from decider.wiring import MongoRulesets
from decider.wiring import redis_client as connect
from shared.contracts import Activation, Decide, Event, Wake, Woken
from shared.errors import Unavailable
from shared.refreshing_cache import RefreshingCache
from shared.ruleset import Campaign
from shared.targets import MongoTargets
from tests.integration.decider.test_user_state import together
from tests.support.builders import compiled
from tests.support.decider_harness import DeciderHarness, LiveRulesets, Outbox, decider_deps, live_rulesets

pytestmark = pytest.mark.both_engines

T0 = 1_790_000_000_000
SECOND = 1000
MINUTE = 60 * SECOND
WAIT = 30 * MINUTE
GRACE = 5 * SECOND
NOTHING = Woken(0, 0)

UNLESS: dict[str, Any] = {"event": "order", "for": "30m"}
LEFT: dict[str, Any] = {"sequence": [{"event": "add"}], "unless": UNLESS}
TWO_LEFT: dict[str, Any] = {"sequence": [{"event": "add", "times": 2}], "within": "2h", "unless": UNLESS}


class Post(Outbox):
    """An outbox with a queue that can fail: ``refused`` calls fail before one succeeds.

    ``spent``: ms that its calls have taken, ``takes`` each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refused = self.takes = self.spent = 0
        self.poison = ""

    def enqueue(self, activations: Sequence[Activation]) -> None:
        """Keep the activations, or fail."""
        self.spent += self.takes
        if self.refused:
            self.refused -= 1
            raise Unavailable("refused")
        if self.poison in {activation.user for activation in activations}:
            raise Unavailable("poison")
        super().enqueue(activations)


class Shop(DeciderHarness):
    """A published site; times are ms since `T0`. ``late``: how late its timers were handled."""

    outbox: Post

    def __init__(self, redis: Any, database: Database[dict[str, Any]], campaigns: Sequence[Campaign]) -> None:
        super().__init__(redis, database, campaigns)
        self.post = Post()
        self.late: list[int] = []
        self.deps = self.environment(self.rulesets)

    def environment(self, live: LiveRulesets) -> Deps:
        """Return the dependencies that another environment of the function would have."""
        return decider_deps(live, self.redis, self.database, self.post)

    def current_rulesets(self) -> LiveRulesets:
        """Return the rulesets as they are now; they are not refreshed by themselves."""
        live = live_rulesets(self.database)
        live.get()
        return live

    def send(
        self,
        user: str,
        event: str,
        at: int,
        *,
        received: int | None = None,
        message_id: str = "",
        history: bool = False,
        **attributes: Any,
    ) -> list[dict[str, Any]]:
        """Decide one event; return the popups."""
        one = Event(
            user=user,
            event=event,
            message_id=message_id or f"{user} {event} {at}",
            at=T0 + at,
            received=T0 + (at if received is None else received),
            attributes=attributes,
            history=history,
        )
        (decision,) = self.ingest(Decide("demo", [one], deadline=T0 + at + 2000)).decisions
        return decision.messages

    def wake(self, now: int, *, user: str | None = None, deps: Deps | None = None) -> Woken:
        """Wake at *now*: all partitions, or that of *user*."""
        request = Wake()
        if user is not None:
            number = keys.partition("demo", user)
            request = Wake(first=number, last=number)
        return wake(request, replace(deps or self.deps, clock=lambda: T0 + now), self.late.append)

    def wake_each(self, now: int, *users: str) -> None:
        """Wake the partitions of *users* at *now*: without the empty ones, long loops take a tenth of the time."""
        for user in users:
            self.wake(now, user=user)

    def mails(self, user: str | None = None) -> list[tuple[str, int]]:
        """Return user and time (since `T0`) of each activation in the queue."""
        return [(each.user, each.at - T0) for each in self.post.queued if user in (None, each.user)]

    def timers(self, user: str) -> dict[tuple[str, ...], int]:
        """Return a user's timers: the names, and when each is due (since `T0`)."""
        entries: Any = self.redis.zrange(keys.timers(keys.partition("demo", user)), 0, -1, withscores=True)
        named = {tuple(msgspec.json.decode(member)): int(score) - T0 for member, score in entries}
        return {names: due for names, due in named.items() if user == _user_of(names)}

    def row(self, user: str) -> dict[Any, Any]:
        """Return a user's row."""
        return dict(self.redis.hgetall(keys.row(keys.partition("demo", user), "demo", user)))

    def progress(self, user: str) -> set[bytes]:
        """Return the fields of a user's row that hold progress."""
        return {field for field in self.row(user) if field.startswith(b"t:")}

    def unacknowledged(self, user: str) -> int:
        """Return how many unacknowledged activations a user has."""
        activations = self.redis.hkeys(keys.unacknowledged(keys.partition("demo", user)))
        return sum(msgspec.json.decode(key)[1] == user for key in activations)

    def clean(self, user: str) -> bool:
        """Return whether nothing is left to do for a user."""
        return self.timers(user) == {} and self.unacknowledged(user) == 0


def _user_of(names: tuple[str, ...]) -> str:
    kind, *rest = names
    return (msgspec.json.decode(rest[0], type=list[str]) if kind == "handover" else rest)[1]


ShopMaker = Callable[..., Shop]


@pytest.fixture(name="make_shop")
def _make_shop(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ShopMaker:
    return lambda *campaigns: Shop(redis_client, mongodb, campaigns)


@pytest.fixture(name="shop")
def _shop(make_shop: ShopMaker) -> Shop:
    return make_shop(compiled(LEFT, channel="email", name="left"))


def test_an_absence_falls_due_after_the_grace_and_not_before(shop: Shop) -> None:
    """It falls due after 30 minutes and 5 seconds, and is dated to the 30 minutes. A second wake finds nothing."""
    shop.send("anna", "add", 0)
    assert [shop.wake(now) for now in (0, WAIT, WAIT + GRACE - 1)] == [NOTHING] * 3
    assert shop.wake(WAIT + GRACE) == Woken(1, 0)
    assert shop.wake(WAIT + GRACE) == shop.wake(WAIT + GRACE + MINUTE) == NOTHING
    assert shop.mails() == [("anna", WAIT)]
    assert shop.clean("anna")
    assert shop.progress("anna") == set()


def test_a_late_wake_dates_the_absence_to_its_deadline(shop: Shop) -> None:
    """A day later it is still dated to the 30 minutes, and it names the event that began the wait."""
    shop.send("anna", "add", 0, message_id="m1")
    assert shop.wake(24 * 60 * MINUTE) == Woken(1, 0)
    (mail,) = shop.post.queued
    assert (mail.at, mail.event, mail.message_id, mail.suppressed) == (T0 + WAIT, "add", "m1", None)


class Failing(MongoRulesets):
    """A store with rulesets that cannot be read for a while."""

    broken = True

    def ruleset(self, site: str, version: int) -> Any:
        """Return a published ruleset, or fail."""
        if self.broken:
            raise Unavailable("MongoDB: NetworkTimeout", code="database_unavailable")
        return super().ruleset(site, version)


def test_an_environment_that_could_not_read_the_rules_loses_nothing(shop: Shop) -> None:
    """A new environment cannot read the rules. Absences wait, events are sent again, and both count."""
    library = Failing(shop.database)
    pages: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
        lambda present: rulesets.load(library, present, lambda _: None), every_s=10, clock=lambda: 0, on_error=print
    )
    cold = shop.environment(pages)
    shop.send("anna", "add", 0)
    woken = shop.wake(WAIT + GRACE, deps=cold)
    assert (woken.absences, woken.rescheduled) == (0, 1)
    event = Event("berta", "add", "b1", T0, T0)
    with pytest.raises(Unavailable, match="rules of site demo"):
        ingest(Decide("demo", [event], deadline=T0 + 2000), cold)
    assert shop.mails() == []
    library.broken = False
    pages.reload()
    ingest(Decide("demo", [event], deadline=T0 + 2000), cold)
    assert shop.wake(WAIT + GRACE + ACK_TIMEOUT_MS, deps=cold).absences == 2
    assert sorted(shop.mails()) == [("anna", WAIT), ("berta", WAIT)]


def test_eight_wakes_at_once_fire_each_absence_once(shop: Shop) -> None:
    """300 users, 8 wakes over all partitions: 300 e-mails."""
    users = [f"user-{n}" for n in range(300)]
    for user in users:
        shop.send(user, "add", 0)
    woken = together(8, lambda _: shop.wake(WAIT + GRACE))
    assert sum(each.absences for each in woken) == 300
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)
    assert all(shop.clean(user) for user in users)


def test_an_event_before_the_deadline_cancels_and_one_at_it_is_too_late(shop: Shop) -> None:
    """The wait is half-open. A due absence is resolved before the event is applied."""
    for user, at in (("before", WAIT - 1), ("at", WAIT), ("after", WAIT + 1)):
        shop.send(user, "add", 0)
        shop.send(user, "order", at)
    assert shop.mails() == [("at", WAIT), ("after", WAIT)]
    assert shop.wake(2 * WAIT) == NOTHING
    assert all(shop.clean(user) for user in ("before", "at", "after"))


def test_an_absence_is_resolved_before_the_event_that_begins_the_next(shop: Shop) -> None:
    """An `add` at the deadline fires the old absence and begins a new one. Each comes once."""
    shop.send("anna", "add", 0)
    shop.send("anna", "add", WAIT)
    assert shop.mails() == [("anna", WAIT)]
    assert shop.wake(WAIT + GRACE) == NOTHING
    assert shop.wake(2 * WAIT + GRACE) == Woken(1, 0)
    assert shop.mails() == [("anna", WAIT), ("anna", 2 * WAIT)]


def test_nothing_is_accepted_into_a_time_that_has_fired(shop: Shop) -> None:
    """An event that arrives late begins at the deadline, so two absences of a user never share one."""
    shop.send("anna", "add", 0)
    shop.wake(WAIT + GRACE)
    shop.send("anna", "add", 0, received=MINUTE, message_id="late")
    assert shop.wake(WAIT + GRACE) == NOTHING
    assert shop.wake(2 * WAIT + GRACE) == Woken(1, 0)
    assert shop.mails() == [("anna", WAIT), ("anna", 2 * WAIT)]


def neighbours(count: int) -> list[str]:
    """Return users in neighbouring partitions, so that a wake handles them in the same pages."""
    return [user for user in (f"user-{n}" for n in range(50 * count)) if keys.partition("demo", user) < 60][:count]


def in_step(rounds: int, *works: Callable[[int], Any]) -> None:
    """Run all *works* at the same moment, each in a thread of its own, for every round."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[int], Any]) -> None:
        for n in range(rounds):
            barrier.wait(timeout=10)
            work(n)

    with ThreadPoolExecutor(len(works)) as executor:
        for done in [executor.submit(run, work) for work in works]:
            done.result()


def test_cancelling_races_with_the_wake_and_one_of_them_wins(make_shop: ShopMaker) -> None:
    """2,000 orders just before the deadline, each beside a wake: fired or cancelled, never both or neither."""
    shop = make_shop(compiled(TWO_LEFT, channel="email"))
    rng = random.Random(11)
    users = [f"user-{n}" for n in range(2000)]
    pauses = [(rng.random() - 0.4) / 1000 for _ in users]  # which comes first; the wake needs two round trips
    for user in users:
        shop.send(user, "add", 0)
        shop.send(user, "add", 1)

    def cancel(n: int) -> None:
        time.sleep(max(pauses[n], 0))
        shop.send(users[n], "order", WAIT, received=WAIT + GRACE + 1)

    def ring(n: int) -> None:
        time.sleep(max(-pauses[n], 0))
        shop.wake(WAIT + GRACE + 1, user=users[n])

    in_step(len(users), cancel, ring)
    fired = Counter(user for user, _ in shop.mails())
    assert set(fired.values()) == {1}
    assert 100 < len(fired) < 1900  # both outcomes are frequent
    assert all(shop.clean(user) for user in users)
    # What fired has used up both adds, what was cancelled has kept them: only there a third one completes two again.
    for user in users:
        shop.send(user, "add", WAIT + 2)
    pending = {user for user in users if shop.timers(user)}
    assert pending == set(users) - set(fired)
    assert shop.wake(WAIT + MINUTE) == NOTHING


@pytest.mark.parametrize("event", ["order", "add"])
def test_an_event_at_the_deadline_races_with_the_wake_and_the_absence_fires_once(shop: Shop, event: str) -> None:
    """Wake or event: the activation is the same, and so is the row afterwards."""
    rng = random.Random(12)
    users = [f"user-{n}" for n in range(700)]
    pauses = [(rng.random() - 0.4) / 1000 for _ in users]
    woken: list[int] = []
    for user in users:
        shop.send(user, "add", 0)

    def come(n: int) -> None:
        time.sleep(max(pauses[n], 0))
        shop.send(users[n], event, WAIT + n % 3, received=WAIT + GRACE)

    def ring(n: int) -> None:
        time.sleep(max(-pauses[n], 0))
        woken.append(shop.wake(WAIT + GRACE, user=users[n]).absences)

    in_step(len(users), come, ring)
    assert 30 < sum(woken) < 670
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)
    (campaign,) = shop.rulesets.get()["demo"].index.ruleset.campaigns
    key = campaign.trigger.key
    assert {each.id for each in shop.post.queued} == {
        activation_id("demo", user, key, str(T0 + WAIT)) for user in users
    }
    again = {user: 2 * WAIT + n % 3 + GRACE for n, user in enumerate(users)}
    for user in users:
        entry = {("absence", "demo", user, key, ""): again[user]}
        assert shop.timers(user) == (entry if event == "add" else {})


def test_a_wake_that_cannot_hand_over_leaves_it_to_a_later_one(shop: Shop) -> None:
    """A wake hands it over 30 seconds after the decision, not earlier. Acknowledging removes it from both places."""
    shop.send("anna", "add", 0)
    shop.post.refused = 1
    with pytest.raises(Unavailable):
        shop.wake(WAIT + GRACE)
    assert (shop.unacknowledged("anna"), list(shop.timers("anna").values())) == (1, [WAIT + GRACE + 30 * SECOND])
    assert shop.wake(WAIT + GRACE + 30 * SECOND - 1) == NOTHING
    assert shop.wake(WAIT + GRACE + 30 * SECOND) == Woken(0, 1)
    assert shop.mails() == [("anna", WAIT)]
    assert shop.clean("anna")
    assert shop.wake(WAIT + GRACE + MINUTE) == NOTHING


def test_a_match_that_was_never_handed_over_is_found_by_the_wake(make_shop: ShopMaker) -> None:
    """The repeated event, the wake, and the event once more give one activation id."""
    shop = make_shop(compiled({"sequence": [{"event": "pay"}]}, channel="email"))
    shop.post.refused = 1
    with pytest.raises(Unavailable):
        shop.send("anna", "pay", 0)
    assert shop.wake(30 * SECOND - 1) == NOTHING
    assert shop.mails() == []
    assert shop.wake(30 * SECOND) == Woken(0, 1)
    shop.send("anna", "pay", 0)  # seen before: its stored firing is handed over and acknowledged again
    assert len(shop.post.queued) == 2
    assert len({each.id for each in shop.post.queued}) == 1
    assert shop.clean("anna")


def test_the_event_that_resolved_an_absence_can_be_repeated(shop: Shop) -> None:
    """The function dies between script and handover. The event and the wake then give the same activation."""
    shop.send("anna", "add", 0)
    shop.post.refused = 1
    with pytest.raises(Unavailable):
        shop.send("anna", "order", WAIT)
    shop.send("anna", "order", WAIT)
    assert shop.wake(WAIT + MINUTE) == NOTHING
    shop.send("anna", "order", WAIT)
    assert [each.at for each in shop.post.queued] == [T0 + WAIT] * 2
    assert len({each.id for each in shop.post.queued}) == 1
    assert shop.clean("anna")


def test_what_was_queued_is_acknowledged_though_the_rest_failed(make_shop: ShopMaker) -> None:
    """An event fires an e-mail and a popup. If the popup fails, the e-mail is not queued again."""
    pay = {"sequence": [{"event": "pay"}]}
    shop = make_shop(compiled(pay, name="a", channel="email"), compiled(pay, name="b", channel="popup"))
    shop.post.broken = True
    with pytest.raises(Unavailable):
        shop.send("anna", "pay", 0)
    shop.post.broken = False
    assert shop.wake(30 * SECOND) == Woken(0, 1)
    assert (len(shop.post.queued), [each.suppressed for each in shop.post.recorded]) == (1, ["unanswered"])


def test_an_absence_is_never_a_popup_in_an_answer(make_shop: ShopMaker) -> None:
    """Neither the wake nor the event that resolves it shows the popup. It is recorded as stale each time."""
    shop = make_shop(msgspec.structs.replace(compiled(LEFT, channel="email"), channel="popup"))
    for user in ("woken", "resolved"):
        shop.send(user, "add", 0)
    assert shop.send("resolved", "order", WAIT) == shop.send("resolved", "order", WAIT) == []
    assert shop.wake(WAIT + GRACE) == Woken(1, 0)
    assert [(each.user, each.suppressed) for each in shop.post.recorded] == [
        ("resolved", "stale"),
        ("resolved", "stale"),
        ("woken", "stale"),
    ]
    assert (shop.post.shown, shop.post.queued) == ([], [])


def test_a_popup_that_missed_its_answer_is_recorded_and_not_shown(make_shop: ShopMaker) -> None:
    """The response is gone when the wake finds it. It is recorded as unanswered, under the same id."""
    shop = make_shop(compiled({"sequence": [{"event": "pay"}]}))
    shop.post.broken = True
    with pytest.raises(Unavailable):
        shop.send("anna", "pay", 0)
    shop.post.broken = False
    assert shop.wake(30 * SECOND) == Woken(0, 1)
    assert ([each.suppressed for each in shop.post.recorded], shop.post.shown) == (["unanswered"], [])
    (popup,) = shop.send("anna", "pay", 0)
    assert popup["id"] == shop.post.recorded[0].id  # the ledger has it as recorded, and shows nothing


def test_a_failing_page_does_not_stop_the_others(shop: Shop) -> None:
    """While the queue fails, one page waits and the others go out. The failed page follows 30 seconds later."""
    users = [f"user-{n}" for n in range(3 * PAGE)]
    for user in users:
        shop.send(user, "add", 0)
    shop.post.refused = 3  # the page, and two of its firings
    with pytest.raises(Unavailable):
        shop.wake(WAIT + GRACE)
    handed = len(shop.mails())
    assert 0 < len(users) - handed <= PAGE
    assert shop.wake(WAIT + GRACE + 30 * SECOND) == Woken(0, len(users) - handed)
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)


def test_one_that_cannot_be_handed_over_does_not_hold_up_its_page(shop: Shop) -> None:
    """A page that fails is handed over one by one. Only the bad one waits, and it goes behind the others."""
    users = neighbours(4)
    for user in users:
        shop.send(user, "add", 0)
    shop.post.poison = users[1]
    shop.wake(WAIT + GRACE)
    assert sorted(user for user, _ in shop.mails()) == sorted({*users} - {users[1]})
    shop.post.poison = ""
    assert shop.wake(WAIT + GRACE + 30 * SECOND) == Woken(0, 1)
    assert sorted(user for user, _ in shop.mails()) == sorted(users)


def test_a_wake_ends_in_time_and_the_next_goes_on(shop: Shop) -> None:
    """If handing over a page takes a second, a wake handles three. None is lost, none comes twice."""
    users = neighbours(400)
    for user in users:
        shop.send(user, "add", 0)
    shop.post.takes = SECOND

    def clock() -> int:
        return T0 + WAIT + GRACE + shop.post.spent

    woken = [wake(Wake(), replace(shop.deps, clock=clock), shop.late.append).absences for _ in range(8)]
    assert 0 < woken[0] <= 3 * PAGE
    assert sum(woken) == 400
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)


def test_an_environment_that_is_behind_removes_nothing(shop: Shop) -> None:
    """It does not know the trigger of an absence yet, or not even the site. It reloads before it acts."""
    knows_nothing = shop.current_rulesets()
    other = compiled({"sequence": [{"event": "add"}], "unless": {"event": "order", "for": "1m"}}, channel="email")
    shop.publish([other], generation=1)
    shop.rulesets.reload()
    for user in ("anna", "bob"):
        shop.send(user, "add", 0)
    assert shop.wake(MINUTE + GRACE, user="anna", deps=shop.environment(knows_nothing)) == Woken(1, 0)
    library = MongoRulesets(shop.database)
    empty: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
        lambda present: rulesets.Rulesets({}) if present is None else rulesets.load(library, present, print),
        every_s=3600,
        clock=lambda: 0,
        on_error=print,
    )
    assert shop.wake(MINUTE + GRACE, user="bob", deps=shop.environment(empty)) == Woken(1, 0)
    assert shop.mails() == [("anna", MINUTE), ("bob", MINUTE)]


@pytest.mark.parametrize("ending", ["changed", "removed", "site"])
def test_an_absence_of_a_trigger_that_has_ended_is_removed(shop: Shop, ending: str) -> None:
    """Changed or removed, alone or with its site: nothing fires, and the next wake removes the timer."""
    shop.send("anna", "add", 0)
    changed = {"sequence": [{"event": "add"}], "unless": {"event": "order", "for": "20m"}}
    shop.publish([compiled(changed, channel="email", name="left")] if ending == "changed" else [], generation=1)
    if ending == "site":
        shop.database.control.delete_one({"_id": "demo"})
    shop.rulesets.reload()
    assert shop.wake(WAIT + GRACE) == NOTHING
    assert shop.clean("anna")
    if ending != "site":
        assert shop.progress("anna") == set()
    assert shop.mails() == []


@pytest.mark.parametrize("resolver", ["wake", "event"])
def test_changed_content_keeps_the_absence_and_its_id(shop: Shop, resolver: str) -> None:
    """It is sent with the content that is live when it falls due, under its earlier id."""
    shop.send("anna", "add", 0)
    (before,) = shop.rulesets.get()["demo"].index.ruleset.campaigns
    other = compiled(LEFT, channel="email", name="left")
    other.content["subject"], other.version = "Another subject", "another"
    shop.publish([other], generation=1)
    shop.rulesets.reload()
    if resolver == "wake":
        shop.wake(WAIT + GRACE)
    else:
        shop.send("anna", "order", WAIT)
    (mail,) = shop.post.queued
    assert (mail.ruleset, mail.at) == (2, T0 + WAIT)
    assert mail.id == activation_id("demo", "anna", before.trigger.key, str(T0 + WAIT))
    assert shop.wake(WAIT + MINUTE) == NOTHING


def test_an_environment_that_is_behind_cannot_bring_the_old_content_back(shop: Shop) -> None:
    """Once a row has seen a ruleset, no older ruleset sends an absence of it."""
    behind = shop.environment(shop.current_rulesets())
    other = compiled(LEFT, channel="email", name="left")
    other.version = "another"
    shop.publish([other], generation=1)
    shop.rulesets.reload()
    shop.send("anna", "add", 0)
    assert shop.wake(WAIT + GRACE, deps=behind) == Woken(1, 0)
    assert [each.ruleset for each in shop.post.queued] == [2]


def test_a_user_who_is_no_target_any_more_gets_nothing(make_shop: ShopMaker) -> None:
    """Targets are checked when the absence falls due. A user who has left the group gets nothing."""
    shop = make_shop(compiled(LEFT, everyone=False, channel="email", name="left"))
    shop.target(1, stays=["left"], leaves=["left"])
    shop.target(2, stays=["left"])
    for user in ("stays", "leaves"):
        shop.send(user, "add", 0)
    shop.publish_targets(2)
    shop.rulesets.reload()
    assert shop.wake(WAIT + GRACE) == Woken(1, 0)
    assert shop.mails() == [("stays", WAIT)]
    assert shop.clean("leaves")
    assert shop.progress("leaves") == set()
    assert b"2:2:" not in shop.row("leaves")[b"g"]
    assert shop.row("leaves")[b"g"].startswith(b"2:1:")  # the targets are stored: no further lookup


def test_an_absence_of_a_lost_row_is_missed_not_invented(shop: Shop) -> None:
    """Without the row, it is unknown whether an order came. The timer is removed, and no row is created."""
    shop.send("anna", "add", 0)
    shop.redis.delete(keys.row(keys.partition("demo", "anna"), "demo", "anna"))
    assert shop.wake(WAIT + GRACE) == NOTHING
    assert shop.clean("anna")
    assert shop.row("anna") == {}


def test_a_database_that_goes_away_leaves_the_rest_due(make_shop: ShopMaker) -> None:
    """If targets cannot be read, earlier firings are handed over, and the rest waits for a later wake."""
    shop = make_shop(compiled(LEFT, everyone=False, channel="email", name="left"))
    users = neighbours(10)
    for generation in (1, 2):
        shop.target(generation, **{user: ["left"] for user in users})
    for user in users:
        shop.send(user, "add", 0)
    shop.publish_targets(2)
    shop.rulesets.reload()

    class GoingAway(MongoTargets):
        looks = 0

        def groups(self, site: str, generation: int, user: str) -> list[str]:
            self.looks += 1
            if self.looks > 4:
                raise Unavailable("away")
            return super().groups(site, generation, user)

    going = GoingAway(shop.database)
    with pytest.raises(Unavailable):
        shop.wake(WAIT + GRACE, deps=replace(shop.deps, targets=going))
    assert len(shop.mails()) == 4
    assert shop.wake(WAIT + GRACE) == Woken(6, 0)
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users)


def test_unreadable_data_of_one_user_blocks_no_other(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """Garbage rows, matches and timers in a partition are rescheduled. The good ones are handled."""
    number = keys.partition("demo", "anna")
    users = [user for user in (f"user-{n}" for n in range(12_000)) if keys.partition("demo", user) == number]
    for user in users:
        shop.send(user, "add", 0)
    torn, mistyped, *good = users
    shop.redis.hset(keys.row(number, "demo", torn), next(iter(shop.progress(torn))), b"\xc1garbage")
    shop.redis.set(keys.row(number, "demo", mistyped), "a row of another type", keepttl=True)
    for n, value in enumerate((b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode(["k"] * 10))):
        key = msgspec.json.encode(["demo", good[0], "key", "", str(n)]).decode()
        shop.redis.hset(keys.unacknowledged(number), key, value)
        shop.redis.zadd(keys.timers(number), {msgspec.json.encode(["handover", key]): n})
    shop.redis.zadd(keys.timers(number), {b"not JSON": 1, b'["absence"]': 2, b'["handover","{"]': 3})
    assert shop.wake(WAIT + GRACE) == Woken(len(good), 0, rescheduled=6)
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in good)
    assert capsys.readouterr().out.count("cannot be read") == 6
    left: Any = shop.redis.zrange(keys.timers(number), 0, -1, withscores=True)
    assert {score for _, score in left} == {T0 + WAIT + GRACE + 30 * SECOND}
    assert len(left) == 6


def test_an_unreadable_match_blocks_no_other(make_shop: ShopMaker) -> None:
    """The note of one match is garbage. The others of the page are handed over all the same."""
    shop = make_shop(compiled({"sequence": [{"event": "add"}]}, channel="email", name="left"))
    shop.post.refused = 3
    for user in ("anna", "bob", "cleo"):
        with pytest.raises(Unavailable):
            shop.send(user, "add", 0)
    number = keys.partition("demo", "bob")
    stored: Any = shop.redis.hgetall(keys.unacknowledged(number))
    ((key, packed),) = stored.items()
    fire = msgspec.msgpack.decode(packed)
    shop.redis.hset(keys.unacknowledged(number), key, msgspec.msgpack.encode([*fire[:6], "{", *fire[7:]]))
    assert shop.wake(MINUTE) == Woken(0, 3, rescheduled=1)
    assert shop.mails() == [("anna", 0), ("cleo", 0)] or shop.mails() == [("cleo", 0), ("anna", 0)]
    assert shop.timers("bob") == {("handover", key.decode()): MINUTE + 30 * SECOND}


def test_a_wake_over_a_cluster(cluster_url: str, mongodb: Database[dict[str, Any]]) -> None:
    """Three nodes, all partitions, the client of production: all absences fall due, all orders cancel."""
    client = connect(cluster_url, cluster=True)
    shop = Shop(client, mongodb, [compiled(LEFT, channel="email", name="left")])
    users = [f"user-{n}" for n in range(150)]
    for user in users:
        shop.send(user, "add", 0)
    for user in users[:50]:
        shop.send(user, "order", MINUTE)
    shop.post.refused = 3
    with pytest.raises(Unavailable):
        shop.wake(WAIT + GRACE)
    first = len(shop.mails())
    assert shop.wake(WAIT + GRACE + 30 * SECOND) == Woken(0, 100 - first)
    assert sorted(shop.mails()) == sorted((user, WAIT) for user in users[50:])
    assert all(shop.clean(user) for user in users)
    assert isinstance(client, RedisCluster)
    client.close()


def test_a_store_that_is_away_is_unavailable(shop: Shop) -> None:
    """With one server or a cluster, the wake fails with a retryable error."""
    for cluster in (False, True):
        states = UserStateStore(partial(connect, "redis://127.0.0.1:1", cluster=cluster))
        with pytest.raises(Unavailable, match="state store"):
            wake(Wake(), replace(shop.deps, states=states, clock=lambda: T0), shop.late.append)
