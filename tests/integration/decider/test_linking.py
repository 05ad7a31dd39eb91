"""A visitor becomes a user while something else happens. Each test is a timeline on real servers."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, user_admin
from decider.ingest import ingest
from decider.keys import message_digest
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS
from shared.contracts import Decide, Event, ForgetUser, Woken
from shared.errors import Unavailable
from shared.identities import PopupEvent
from shared.ruleset import GOAL, Campaign, Goal, Matcher, Quota
from tests.integration.decider.test_gates import ADD, DAY, PAY, campaign, cart
from tests.integration.decider.test_offers import AGAIN, popup
from tests.integration.decider.test_user_state import together
from tests.integration.decider.test_visitors import VISITOR, Club, broken_off
from tests.integration.decider.test_wake import LEFT, MINUTE, SECOND, T0, WAIT
from tests.support.builders import THREE_WINS, compiled
from tests.support.rows import ids_of

ClubMaker = Callable[..., Club]
CARTS: dict[str, Any] = {**LEFT, "per": "cart"}
MOVED = ("move", "demo", VISITOR)


@pytest.fixture(name="club")
def _club(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ClubMaker:
    def make(*campaigns: Campaign, **caps: Quota) -> Club:
        club = Club(redis_client, mongodb, campaigns or [compiled(THREE_WINS)], caps)
        club.outbox = club.post
        return club

    return make


# ── Interrupted moves ────────────────────────────────────────────────────────────────────────────


def test_what_is_left_half_way_arrives_by_itself(club: ClubMaker) -> None:
    """A visitor's cart: no second identification comes, and the reminder is still on time.

    add   identify: detach, dies   wake: merge   wake: it falls due
    """
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    home.detach(at=MINUTE)
    assert home.timers(VISITOR) == {MOVED: MINUTE + ACK_TIMEOUT_MS}
    assert home.wake(2 * MINUTE) == Woken(0, 0)
    assert (home.timers(VISITOR), b"x" in home.row(VISITOR)) == ({}, False)
    assert list(home.timers("anna").values()) == [WAIT + GRACE_MS]
    home.wake(WAIT + GRACE_MS)
    assert home.mails() == [("anna", WAIT)]


def test_the_visitors_next_event_brings_what_is_left_half_way(club: ClubMaker) -> None:
    """Two wins, a login that dies, the third win in another tab: its response has the popup."""
    home = club()
    home.win(VISITOR, "1", at=0)
    home.win(VISITOR, "2", at=1)
    home.detach(at=2)
    assert home.win(VISITOR, "3", at=3)
    assert home.timers(VISITOR) == {}


@pytest.mark.parametrize("dies", ["detach", "merge"])
def test_caps_hold_whichever_step_dies(club: ClubMaker, dies: str) -> None:
    """One popup a day: the visitor has had it, and gets none while logging in."""
    home = club(campaign(channel="popup"), popup=Quota(1, DAY))
    assert home.send(VISITOR, "pay", 0)
    getattr(home, dies)(at=1)
    assert not home.send(VISITOR, "pay", 2)
    assert not home.send("anna", "pay", 3)
    assert home.send("anna", "pay", DAY)


def test_a_move_that_cannot_finish_blocks_no_other_timer(club: ClubMaker) -> None:
    """The user's partition is away: the move is rescheduled, and a reminder of the visitor's partition still comes."""
    home = club(compiled(LEFT, channel="email"))
    number = keys.partition("demo", VISITOR)
    neighbour = next(f"u{n}" for n in range(20_000) if keys.partition("demo", f"u{n}") == number)
    home.send(neighbour, "add", 0)
    home.send(VISITOR, "add", 0)
    home.detach(at=0)
    with broken_off("_merge"):
        woken = home.wake(WAIT + GRACE_MS, user=VISITOR)
    assert woken == Woken(1, 0, rescheduled=1)
    assert home.timers(VISITOR) == {MOVED: WAIT + GRACE_MS + ACK_TIMEOUT_MS}
    for more in (1, 2):
        home.wake(WAIT + GRACE_MS + more * MINUTE)
    assert home.mails() == [(neighbour, WAIT), ("anna", WAIT)]


def test_a_move_of_a_site_that_is_gone_ends(club: ClubMaker) -> None:
    """The site no longer exists: its timer is removed."""
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    home.detach(at=0)
    home.database.control.delete_many({})
    home.deps.rulesets.reload()
    home.wake(MINUTE)
    assert home.timers(VISITOR) == {}


def test_who_is_forgotten_in_the_middle_leaves_no_appointment(club: ClubMaker) -> None:
    """The visitor is forgotten, and the parts on their way to the user with it."""
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    home.detach(at=0)
    erased = user_admin.forget(ForgetUser("demo", VISITOR), home.deps)
    assert (erased["row"], erased["timers"]) == (1, 1)
    home.wake(WAIT + GRACE_MS)
    assert (home.mails(), list(home.redis.scan_iter("*:u:*"))) == ([], [])


# ── Identification ───────────────────────────────────────────────────────────────────────────────


def test_the_latest_identification_counts_in_any_order(club: ClubMaker) -> None:
    """Anna's login is sent again after berta's: the visitor stays berta.

    anna logs in    berta logs in, and it arrives    anna's login arrives
    """
    home = club()
    home.become(user="anna", said=0, at=0)
    home.become(user="berta", said=MINUTE, at=MINUTE)
    home.become(user="anna", said=SECOND, at=2 * MINUTE)
    assert home.row(VISITOR)[b"l"] == b"berta"
    for n in range(3):
        home.win(VISITOR, str(n), at=3 * MINUTE + n)
    assert [each.user for each in home.post.shown] == ["berta"]
    home.become(user="anna", at=4 * MINUTE)
    assert home.row(VISITOR)[b"l"] == b"anna"


def test_to_finish_one_login_does_not_undo_the_next(club: ClubMaker) -> None:
    """Anna's parts are merged, but the move is not finished, when berta logs in: the visitor is berta.

    anna: detach, merge            detach: closes
                          berta: all
    """
    home = club()
    rows = home.deps.states
    run, scripts = rows.run, []

    def interrupted(script: Any, *arguments: Any) -> Any:
        scripts.append(script.name)
        if scripts == ["detach-visitor-3.lua", "merge-visitor-4.lua", "detach-visitor-3.lua"]:
            home.become(user="berta", at=0)
        return run(script, *arguments)

    rows.run = interrupted  # type: ignore[method-assign]
    home.become(user="anna", at=0)
    rows.run = run  # type: ignore[method-assign]
    assert home.row(VISITOR)[b"l"] == b"berta"
    assert b"x" not in home.row(VISITOR)


def test_two_who_log_in_at_once_get_what_was_begun_once(club: ClubMaker) -> None:
    """40 rounds, two users and a visitor with two wins: one of the two gets them, and no move stays unfinished."""
    home = club()
    for n in range(40):
        visitor = f"anon:{n}"
        home.win(visitor, f"{n} 0", at=0)
        home.win(visitor, f"{n} 1", at=1)
        work = [partial(home.become, visitor, f"{name}-{n}", at=2) for name in ("anna", "berta")] * 2
        together(len(work), lambda m, work=work: work[m]())
        assert b"x" not in home.row(visitor)
        shown = [bool(home.win(f"{name}-{n}", f"{n} {name}", at=3)) for name in ("anna", "berta")]
        assert sorted(shown) == [False, True]
    home.wake(DAY)
    assert not any(home.timers(f"anon:{n}") for n in range(40))


def test_two_devices_log_in_at_once(club: ClubMaker) -> None:
    """40 rounds, two visitors become one user, by two calls each: each one's caps are added once."""
    home = club(campaign(channel="popup"), popup=Quota(5, DAY))
    for n in range(40):
        devices = [f"anon:{n}a", f"anon:{n}b"]
        for at in range(2):
            for device in devices:
                assert home.send(device, "pay", at)
        work = [partial(home.become, device, f"user-{n}", at=3) for device in devices * 2]
        random.Random(n).shuffle(work)
        together(len(work), lambda m, work=work: work[m]())
        counted = msgspec.msgpack.decode(home.row(f"user-{n}")[b"c"])
        assert counted == {"cap:popup": [T0, T0, T0 + 1, T0 + 1]}
        assert [bool(home.send(f"user-{n}", "pay", 10 + more)) for more in range(2)] == [True, False]


def test_a_visitor_who_returns_every_day_stays_linked(club: ClubMaker) -> None:
    """An event with only the visitor's id extends the life of the link."""
    home = club()
    home.become()
    place = keys.row(keys.partition("demo", VISITOR), "demo", VISITOR)
    home.redis.pexpire(place, MINUTE)
    home.win(VISITOR, "1", at=0)
    assert home.redis.pttl(place) > DAY


def test_a_login_shortens_no_life(club: ClubMaker) -> None:
    """What still waits may be from a ruleset with longer delays."""
    home = club()
    home.win(VISITOR, "1", at=0)
    place = keys.row(keys.partition("demo", VISITOR), "demo", VISITOR)
    home.redis.pexpire(place, 90 * DAY)
    home.become()
    assert home.redis.pttl(place) > 80 * DAY


# ── Moved parts ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("order", [["order", "login"], ["login", "order"], ["detach", "order", "login"]])
def test_an_order_ends_the_cart_of_the_visitor_in_any_order(club: ClubMaker, order: list[str]) -> None:
    """A guest pays and logs in on the same page, by two concurrent calls: no reminder, in either order.

    visitor   add            │  anna: order │ login │ and every other order
    """
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    for what in order:
        if what == "order":
            home.send("anna", "order", MINUTE)
        else:
            (home.become if what == "login" else home.detach)(at=MINUTE)
    home.wake(WAIT + GRACE_MS)
    home.wake(2 * WAIT)
    assert home.mails() == []
    assert (home.timers("anna"), home.timers(VISITOR)) == ({}, {})
    assert home.progress("anna") == set()


def test_a_guests_order_ends_the_cart_of_the_user(club: ClubMaker) -> None:
    """Anna has a cart on her phone, pays as a guest elsewhere, and logs in."""
    home = club(compiled(LEFT, channel="email"))
    home.send("anna", "add", 0)
    home.send(VISITOR, "order", MINUTE)
    home.become(at=2 * MINUTE)
    home.wake(2 * WAIT)
    assert (home.mails(), home.timers("anna"), home.progress("anna")) == ([], {}, set())


def test_an_order_ends_no_cart_that_came_after_it(club: ClubMaker) -> None:
    """Nor one of another run. A cancellation is dropped when no older absence can wait."""
    home = club(compiled(CARTS, channel="email"))
    home.send("anna", "order", 0, cart="x")
    home.send(VISITOR, "add", MINUTE, cart="x")
    home.send("anon:v2", "add", -MINUTE, cart="y")
    home.become(at=2 * MINUTE)
    home.become("anon:v2", at=2 * MINUTE)
    assert b"n" in home.row("anna")
    home.wake(2 * WAIT)
    assert sorted(home.mails()) == [("anna", WAIT - MINUTE), ("anna", WAIT + MINUTE)]
    assert b"n" not in home.row("anna")
    home.send("anna", "order", 3 * WAIT, cart="z")
    (runs,) = msgspec.msgpack.decode(home.row("anna")[b"n"]).values()
    assert runs.keys() == {'["z"]'}


def test_what_was_called_off_is_bounded(club: ClubMaker) -> None:
    """A user who orders all day has a row that does not grow."""
    home = club(compiled(CARTS, channel="email"))
    for n in range(50):
        home.send("anna", "order", n, cart=str(n))
    (runs,) = msgspec.msgpack.decode(home.row("anna")[b"n"]).values()
    assert runs.keys() == {f'["{n}"]' for n in range(30, 50)}


@pytest.mark.parametrize(("anchor", "due"), [("first", 0), ("last", 5 * MINUTE)])
@pytest.mark.parametrize("first", [VISITOR, "anna"])
def test_of_two_carts_one_reminder_comes_when_one_row_would_send_it(
    club: ClubMaker, anchor: str, due: int, first: str
) -> None:
    """30 minutes after the first `add`, or after the last one, in whichever row."""
    unless = {**LEFT["unless"], "anchor": anchor}
    home = club(compiled({**LEFT, "unless": unless}, channel="email"))
    second = "anna" if first == VISITOR else VISITOR
    home.send(first, "add", 0)
    home.send(second, "add", 5 * MINUTE)
    home.become(at=6 * MINUTE)
    for at in range(0, 3 * WAIT, MINUTE):
        home.wake_each(at, VISITOR, "anna")
    assert home.mails() == [("anna", WAIT + due)]


def test_a_cart_moves_also_where_each_event_is_counted_by_itself(club: ClubMaker) -> None:
    """With `overlap` the user's own progress stays, and the visitor's pending absence moves."""
    steps = {"sequence": [{"event": "look"}, {"event": "add"}], "within": "1h"}
    home = club(compiled({**LEFT, **steps, "after_match": "overlap"}, channel="email"))
    home.send("anna", "look", 0)
    home.send(VISITOR, "look", 0)
    home.send(VISITOR, "add", 1)
    home.become(at=2)
    home.wake(WAIT + 1 + GRACE_MS)
    assert home.mails() == [("anna", WAIT + 1)]


def test_what_comes_once_comes_once_to_both(club: ClubMaker) -> None:
    """The visitor has had the only reminder, so the login ends the user's cart."""
    home = club(compiled({**LEFT, "after_match": "once"}, channel="email"))
    home.send(VISITOR, "add", 0)
    home.wake(WAIT + GRACE_MS)
    home.send("anna", "add", WAIT + MINUTE)
    home.become(at=WAIT + 2 * MINUTE)
    home.wake(3 * WAIT)
    assert home.mails() == [(VISITOR, WAIT)]


def test_the_latest_runs_stay_and_an_eviction_is_logged(club: ClubMaker, capsys: pytest.CaptureFixture[str]) -> None:
    """20 old carts of the user and two new ones of the visitor: the two oldest are evicted."""
    home = club(compiled(CARTS, channel="email"))
    for n in range(20):
        home.send("anna", "add", n, cart=f"old {n}")
    for n in range(2):
        home.send(VISITOR, "add", MINUTE + n, cart=f"new {n}")
    home.become(at=2 * MINUTE)
    assert capsys.readouterr().out.count("a run was evicted") == 2
    assert len(home.timers("anna")) == 20
    home.wake(2 * WAIT)
    assert len(home.mails()) == 20
    assert {("anna", WAIT + MINUTE), ("anna", WAIT + MINUTE + 1)} <= set(home.mails())
    counters = home.redis.hgetall(keys.counters(keys.partition("demo", "anna")))
    assert [number for name, number in counters.items() if b"evicted" in name] == [b"2"]


def test_a_message_counts_once_also_for_a_user_whose_row_remembers_many(club: ClubMaker) -> None:
    """Anna returns as a visitor, wins, logs in, and her tracker sends the win again with her id."""
    home = club(compiled(THREE_WINS | {"within": "1h"}))
    for n in range(200):
        home.win("anna", f"old {n}", at=n, attributes={"outcome": "loss"})
    for n in range(2):
        home.win(VISITOR, f"new {n}", at=SECOND + n)
    home.become(at=2 * SECOND)
    for n in range(2):
        assert not home.win("anna", f"new {n}", at=SECOND + n, received=T0 + 3 * SECOND)
    assert 128 <= len(ids_of(home.row("anna")[b"d"])) < 136
    assert home.win("anna", "third", at=4 * SECOND)


def test_stored_answers_go_with_the_messages_that_are_forgotten(club: ClubMaker) -> None:
    """A row that has received 60 messages keeps no result of a message that it has dropped."""
    home = club(campaign(channel="popup"))
    for n in range(128):
        assert home.send("anna", "pay", n, message_id=f"old {n}")
    for n in range(60):
        home.send(VISITOR, "pay", 200 + n, message_id=f"new {n}")
    home.become(at=SECOND)
    row = home.row("anna")
    remembered = ids_of(row[b"d"])
    answered, at = set(), 0
    while at < len(row[b"r"]):
        answered.add(row[b"r"][at : at + 7])
        at += 11 + int.from_bytes(row[b"r"][at + 8 : at + 11])
    assert 128 <= len(remembered) < 136
    assert answered == remembered & {message_digest(f"old {n}")[:7] for n in range(128)}
    assert len(answered) >= 64
    assert home.send("anna", "pay", 127, message_id="old 127", received=SECOND)
    assert len(home.post.shown) == 188 + 1


def test_a_popup_that_the_visitor_has_not_seen_is_offered_to_the_user(club: ClubMaker) -> None:
    """A new page, the login, has lost the response. Once seen, the popup is not offered again."""
    home = club(popup(), campaign(ADD, name="b"))
    (first,) = home.send(VISITOR, "pay", 0)
    home.become(at=SECOND)
    assert home.send("anna", "add", AGAIN) == [first]
    report = PopupEvent("anna", first["id"], "seen", T0 + AGAIN)
    home.ingest(Decide("demo", [report], T0))
    assert home.send("anna", "add", 2 * AGAIN) == []


def test_a_report_by_the_visitors_id_ends_the_offer_to_the_user(club: ClubMaker) -> None:
    """A tab that does not know the user yet shows the user's popup, and reports it."""
    home = club(popup(), campaign(ADD, name="b"))
    home.become()
    (first,) = home.send(VISITOR, "pay", 0)
    report = PopupEvent(VISITOR, first["id"], "seen", T0 + SECOND)
    home.ingest(Decide("demo", [report], T0))
    assert home.send("anna", "add", AGAIN) == []


def buys(**changes: Any) -> Campaign:
    """Return a campaign whose goal is an order within a day."""
    return campaign(goal=Goal(DAY), watchers=[Matcher(["order"], GOAL)], **{"channel": "popup", **changes})


def test_a_popup_of_the_visitor_reaches_its_goal_through_the_user(club: ClubMaker) -> None:
    """The visitor sees it, logs in and buys: that activation converts once, and is not delivered again."""
    home = club(buys())
    (shown,) = home.send(VISITOR, "pay", 0)
    home.become(at=SECOND)
    home.send("anna", "order", MINUTE)
    home.send("anna", "order", 2 * MINUTE)
    assert [(each.id, each.at) for each in home.post.converted] == [(shown["id"], T0 + MINUTE)]
    assert home.wake(DAY // 2) == Woken(0, 0)
    assert home.timers("anna") == {}
    assert b"p" not in home.row(VISITOR)


def test_an_unproven_activation_converts_after_the_next_login(club: ClubMaker) -> None:
    """With `enforce` the user is known already, and the popup was the visitor's: it alone moves."""
    home = club(buys())
    home.become()
    event = Event(VISITOR, "pay", "m", T0 + 1, T0 + 1, verified=False)
    ((shown,),) = [each.messages for each in home.ingest(Decide("demo", [event], T0 + 2000)).decisions]
    home.become(at=SECOND)
    home.send("anna", "order", MINUTE)
    assert [each.id for each in home.post.converted] == [shown["id"]]


def test_a_goal_is_reported_again_until_it_is_acknowledged(club: ClubMaker) -> None:
    """The Engager is away: a wake reports the conversion of the same activation."""
    home = club(buys())
    (shown,) = home.send(VISITOR, "pay", 0)
    home.become(at=SECOND)
    home.post.broken = True
    with pytest.raises(Unavailable):
        home.send("anna", "order", MINUTE)
    home.post.broken = False
    home.wake(2 * MINUTE)
    home.wake(3 * MINUTE)
    assert [each.id for each in home.post.converted] == [shown["id"]]


def test_what_is_held_of_the_visitor_is_called_back_by_the_user(club: ClubMaker) -> None:
    """It was handed over after its delay and may wait for quiet hours. The user cancels it."""
    home = club(cart(trigger_source=PAY, max_lateness=DAY))
    home.send(VISITOR, "pay", 0)
    home.wake(WAIT)
    (sent,) = home.post.queued
    home.become(at=WAIT + MINUTE)
    home.send("anna", "order", WAIT + 2 * MINUTE)
    (back,) = home.post.recorded
    assert (back.id, back.suppressed) == (sent.id, "cancelled")
    assert home.redis.zcard(keys.timers(keys.partition("demo", "anna"))) == 0


def test_what_waits_for_its_delay_was_the_visitors(club: ClubMaker) -> None:
    """It stays with the visitor and comes when it is due. All other progress moves."""
    home = club(cart(trigger_source=PAY), buys(name="goal"))
    home.send(VISITOR, "pay", 0)
    home.become(at=MINUTE)
    assert msgspec.msgpack.decode(home.row(VISITOR)[b"p"]).keys() == {"test"}
    assert msgspec.msgpack.decode(home.row("anna")[b"p"]).keys() == {"goal"}
    assert home.commands(lambda: home.become(at=2 * MINUTE)) == 1
    home.wake(WAIT)
    assert home.mails() == [(VISITOR, 0)]


def test_a_trigger_that_is_newer_than_the_caller_loses_nothing(club: ClubMaker) -> None:
    """A campaign was published. One environment knows it; the one that handles the login does not."""
    old = compiled(THREE_WINS)
    home = club(old)
    newer = home.current_rulesets()
    home.publish([old, compiled(LEFT, channel="email", name="cart")], generation=1)
    newer.reload()
    knows = home.environment(newer)
    ingest(Decide("demo", [Event(VISITOR, "add", "m", T0, T0)], T0 + 2000), knows)
    home.become()
    home.wake(WAIT + GRACE_MS, deps=knows)
    assert home.mails() == [("anna", WAIT)]


def test_a_login_and_a_completing_event_at_once(club: ClubMaker) -> None:
    """60 rounds: two wins of the visitor, then a third by either id, beside the login: one popup, never two.

    If the third win comes before the parts do, the next one completes the match.
    """
    home = club(compiled(THREE_WINS | {"within": "1h"}))
    rng = random.Random(7)
    for n in range(60):
        visitor, user = f"anon:{n}", f"user-{n}"
        home.win(visitor, f"{n} 0", at=0)
        home.win(visitor, f"{n} 1", at=1)
        before = len(home.post.shown)
        third = rng.choice([visitor, user])
        work: list[Callable[[], Any]] = [
            partial(home.become, visitor, user, at=2),
            partial(home.become, visitor, user, at=2),
            partial(home.win, third, f"{n} 2", at=2),
        ]
        rng.shuffle(work)
        together(len(work), lambda m, work=work: work[m]())
        if third == visitor:
            assert len(home.post.shown) == before + 1, n
        else:
            home.win(user, f"{n} 3", at=3)
            assert len(home.post.shown) == before + 1, n
        assert b"x" not in home.row(visitor)


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_two_rows_and_a_login_remind_as_one_row_would(club: ClubMaker, anchor: str) -> None:
    """Carts and orders of one person under two ids, then the login: the same e-mails as with one row.

    Never early; late only where an order of the one row came between two carts of the other: then by the last cart.
    """
    home = club(compiled({**LEFT, "unless": {**LEFT["unless"], "anchor": anchor}}, channel="email"))
    rng = random.Random(anchor)
    for n in range(60):
        at, last, visitor, user, whole = n * DAY, 0, f"anon:{n}", f"half-{n}", f"whole-{n}"
        for _ in range(rng.randint(2, 8)):
            at += rng.choice([SECOND, MINUTE, 2 * MINUTE])
            event = rng.choice(["add", "add", "order"])
            last = at if event == "add" else last
            home.send(whole, event, at)
            home.send(rng.choice([visitor, user]), event, at)
        home.become(visitor, user, at=at)
        for wake in range(5):
            home.wake_each(at + wake * WAIT // 2 + GRACE_MS, visitor, user, whole)
        halves = [when for name in (visitor, user) for _, when in home.mails(name)]
        wanted = [when for _, when in home.mails(whole)]
        assert halves in (wanted, [last + WAIT] if wanted and anchor == "first" else wanted), n
