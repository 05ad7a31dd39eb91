"""A visitor becomes a user: the parts that move, events in between, and that it happens once."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, user_admin, visitors
from decider.store import Unreadable
from decider.timers import GRACE_MS
from decider.user_admin import UserSnapshot
from shared.contracts import Decide, Event, ForgetUser, InspectUser
from shared.errors import Unavailable
from shared.identities import Identification
from shared.ruleset import Campaign, Quota
from tests.integration.decider.test_gates import DAY, House, campaign
from tests.integration.decider.test_user_state import together
from tests.integration.decider.test_wake import LEFT, MINUTE, SECOND, T0, WAIT
from tests.support.builders import THREE_WINS, WON, compiled
from tests.support.rows import ids_of

pytestmark = pytest.mark.both_engines

VISITOR = "anon:v1"
WINS = "game_result"


@contextmanager
def broken_off(step: str, *, after: bool = False) -> Iterator[None]:
    """Make every move of a visitor die before *step* or *after* it."""
    original = getattr(visitors, step)

    def dies(*parts: Any) -> None:
        if after:
            original(*parts)
        raise Unavailable("dies")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visitors, step, dies)
        yield


class Club(House):
    """A published site whose visitors become users."""

    def become(self, visitor: str = VISITOR, user: str = "anna", *, at: int = 0, said: int | None = None) -> None:
        """Identify *visitor* as *user*, in ms since `T0`. *said*: the time of the identification itself."""
        identification = Identification(user, T0 + at, visitor=visitor, at=T0 + (at if said is None else said))
        visitors.become_user("demo", identification, self.deps)

    def detach(self, *who: str, at: int = 0) -> None:
        """Identify a visitor, and die after the first step."""
        with broken_off("_merge"), pytest.raises(Unavailable):
            self.become(*who, at=at)

    def merge(self, *who: str, at: int = 0) -> None:
        """Identify a visitor, and die after the second step."""
        with broken_off("_merge", after=True), pytest.raises(Unavailable):
            self.become(*who, at=at)

    def win(self, user: str, message_id: str, *, at: int = T0, **fields: Any) -> list[dict[str, Any]]:
        """Decide one win, in ms since `T0`."""
        return super().win(user, message_id, at=T0 + at, **fields)

    def commands(self, work: Callable[[], Any]) -> int:
        """Return how many scripts *work* has run."""
        before = self.redis_requests()[0]
        work()
        return self.redis_requests()[0] - before


ClubMaker = Callable[..., Club]


def make_club(redis: Redis, database: Database[dict[str, Any]], *campaigns: Campaign, **caps: Quota) -> Club:
    """Return a site with *campaigns*, or with `THREE_WINS`, in a store that knows the scripts of logins."""
    club = Club(redis, database, campaigns or [compiled(THREE_WINS)], caps)
    club.outbox = club.post
    for script in (visitors.DETACH, visitors.MERGE):
        redis.script_load(script.text)
    return club


@pytest.fixture(name="club")
def _club(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> ClubMaker:
    return partial(make_club, redis_client, mongodb)


def test_what_a_visitor_has_begun_goes_on_as_the_users_own(club: ClubMaker) -> None:
    """Two wins before the login and one after it are three."""
    home = club()
    assert not home.win(VISITOR, "1", at=0)
    assert not home.win(VISITOR, "2", at=1)
    home.become()
    assert home.win("anna", "3", at=2)
    assert home.post.shown[0].user == "anna"
    assert home.progress(VISITOR) == set()


def test_from_then_on_the_users_row_counts(club: ClubMaker) -> None:
    """Events with only the visitor's id count for the user, those of another tab as well."""
    home = club()
    home.become()
    for n in range(3):
        shown = home.win(VISITOR, str(n), at=n)
    assert shown
    assert [each.user for each in home.post.shown] == ["anna"]
    assert home.progress(VISITOR) == set()


def test_an_unproven_event_never_reaches_the_user(club: ClubMaker) -> None:
    """With `enforce` the visitor's events stay with the visitor until a proof comes. Then they move."""
    home = club()
    home.become()
    for n in range(2):
        home.win(VISITOR, str(n), at=n, verified=False)
    assert home.progress("anna") == set()
    home.become()
    assert home.win("anna", "3", at=3)


def test_progress_of_both_is_one_persons(club: ClubMaker) -> None:
    """The newer partial match of each step counts, whichever row it was in. Neither is lost."""
    home = club()
    home.win(VISITOR, "1", at=0)
    home.win(VISITOR, "2", at=1)
    home.win("anna", "3", at=2)
    home.become()
    assert home.win("anna", "4", at=3)
    assert home.post.shown[0].at == T0 + 3
    home.win("berta", "1", at=0)
    home.win("berta", "2", at=1)
    home.win("anon:v2", "3", at=2)
    home.become("anon:v2", "berta")
    assert home.win("berta", "4", at=3)


def test_a_login_does_not_lengthen_a_window(club: ClubMaker) -> None:
    """The first win counts from its own time."""
    home = club()
    home.win(VISITOR, "1", at=0)
    home.win(VISITOR, "2", at=MINUTE)
    home.become()
    assert not home.win("anna", "3", at=10 * MINUTE)
    assert home.win("anna", "4", at=10 * MINUTE + SECOND)


def test_a_cart_of_a_visitor_is_the_users(club: ClubMaker) -> None:
    """The absence falls due for the user, once and on time. An order of the user cancels it."""
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    home.send("anon:v2", "add", 0)
    home.become()
    home.become("anon:v2", "berta")
    assert home.timers(VISITOR) == {}
    assert list(home.timers("anna").values()) == [WAIT + GRACE_MS]
    home.send("berta", "order", MINUTE)
    home.wake(WAIT + GRACE_MS)
    home.wake(WAIT + GRACE_MS + MINUTE)
    assert home.mails() == [("anna", WAIT)]


def test_caps_count_what_the_visitor_got(club: ClubMaker) -> None:
    """A login gives no user an extra popup."""
    home = club(campaign(channel="popup"), popup=Quota(2, DAY))
    assert home.send(VISITOR, "pay", 0)
    assert home.send("anna", "pay", 1)
    home.become()
    assert not home.send("anna", "pay", 2)
    assert home.send("anna", "pay", DAY)


def test_a_message_counts_once_though_its_user_was_found_out_meanwhile(club: ClubMaker) -> None:
    """A tracker sends it again with the user's id: it is not a second win."""
    home = club()
    home.win(VISITOR, "1", at=0)
    home.win(VISITOR, "2", at=1)
    home.become()
    assert not home.win("anna", "2", at=2)
    assert not home.win(VISITOR, "2", at=2)
    assert home.win("anna", "3", at=3)


def test_what_it_costs(club: ClubMaker) -> None:
    """Three commands if it is news or parts have to move, else one. An event that follows the link costs one more."""
    home = club()
    assert home.commands(home.become) == 3
    assert home.commands(home.become) == 1
    assert home.commands(lambda: home.win("anna", "1")) == 1
    assert home.commands(lambda: home.win(VISITOR, "2")) == 2
    home.win(VISITOR, "3", verified=False)
    assert home.commands(home.become) == 3
    assert home.commands(home.become) == 1


@pytest.mark.parametrize("steps", [1, 2])
def test_a_call_that_dies_in_between_loses_nothing(club: ClubMaker, steps: int) -> None:
    """The next identification finishes the move, even one as another user. Nothing is merged twice.

    detach, dies      the parts wait in the visitor's row
    detach, merge, dies   they are merged, but still wait there: merging them again changes nothing
    """
    home = club()
    home.win(VISITOR, "1", at=0)
    home.win(VISITOR, "2", at=1)
    (home.detach if steps == 1 else home.merge)()
    if steps == 2:
        home.win("anna", "loss", at=2, attributes={"outcome": "loss"})
    looked = msgspec.convert(user_admin.inspect(InspectUser("demo", VISITOR), home.deps), UserSnapshot)
    assert looked.row is not None  # waiting parts do not prevent it
    assert looked.row.lost == []
    home.become(user="berta")
    assert b"x" not in home.row(VISITOR)
    assert not home.win("berta", "b", at=3)
    assert bool(home.win("anna", "3", at=4)) == (steps == 1)


def test_a_race_of_events_and_introductions_loses_and_doubles_nothing(club: ClubMaker) -> None:
    """Concurrent wins and identifications of one visitor, 60 rounds: six wins give two popups in any order."""
    home = club(compiled(THREE_WINS | {"within": "1h"}))
    rng = random.Random(5)
    for n in range(60):
        visitor, user = f"anon:{n}", f"user-{n}"
        home.win(visitor, f"{n} 0", at=0)
        work: list[Callable[[], Any]] = [
            partial(home.win, user, f"{n} 1", at=1),
            partial(home.win, visitor, f"{n} 2", at=1),
            *[partial(home.become, visitor, user)] * 3,
        ]
        rng.shuffle(work)
        together(len(work), lambda m, work=work: work[m]())
        home.become(visitor, user)
        before = len(home.post.shown)
        # Two of the three may have reached the same step: the newer one stays. One or two more wins complete it.
        shown = [bool(home.win(user, f"{n} {more}", at=more)) for more in (3, 4)]
        assert any(shown) or any(each.user == user for each in home.post.shown[:before]), n
        assert sum(each.user == user for each in home.post.shown) == 1, n
        assert b"x" not in home.row(visitor)


def test_a_batch_is_taken_in_its_order(club: ClubMaker, mongodb: Database[dict[str, Any]]) -> None:
    """One request: wins of the visitor, the identification, wins of the user."""
    home = club()
    events = [
        Event(user, WINS, f"m{n}", T0 + n, T0 + n, WON) for n, user in enumerate([VISITOR, VISITOR, "anna", VISITOR])
    ]
    known = Identification("anna", T0, {"first_name": "Anna"}, VISITOR)
    decided = home.ingest(Decide("demo", [*events[:2], known, *events[2:]], T0 + 5000))
    assert [len(each.messages) for each in decided.decisions] == [0, 0, 1, 0]
    assert mongodb.customers.find_one({"_id": "demo:anna"}) == {
        "_id": "demo:anna",
        "site": "demo",
        "user": "anna",
        "attributes": {"first_name": "Anna"},
        "said": {"first_name": T0},
    }


def test_a_visitor_whose_row_cannot_be_read_keeps_no_event_from_being_decided(
    club: ClubMaker, mongodb: Database[dict[str, Any]]
) -> None:
    """The identification stands between events of two other users. The request fails, but theirs are decided."""
    home = club()
    home.redis.set(keys.row(keys.partition("demo", VISITOR), "demo", VISITOR), "a row of another type")
    events = [Event(user, WINS, f"m{n}", T0 + n, T0 + n, WON) for n, user in enumerate(["anna", "bob", "bob", "bob"])]
    known = Identification("anna", T0, {}, VISITOR)
    with pytest.raises(Unreadable):
        home.ingest(Decide("demo", [events[0], known, *events[1:]], T0 + 5000))
    assert [each.user for each in home.post.shown] == ["bob"]


def test_who_is_forgotten_is_forgotten_as_a_visitor_too(club: ClubMaker) -> None:
    """The rows of the user's visitors name the user: they are erased as well. A second pass finds nothing."""
    home = club(compiled(LEFT, channel="email"))
    home.send(VISITOR, "add", 0)
    home.become()
    home.become("anon:v2")
    assert b"anna" in home.row("anon:v2")[b"l"]
    erased = user_admin.forget(ForgetUser("demo", "anna"), home.deps)
    assert (erased["row"], erased["timers"]) == (3, 1)
    assert list(home.redis.scan_iter("*:u:*")) == []
    assert not any(user_admin.forget(ForgetUser("demo", "anna"), home.deps).values())


def test_visitors_of_a_row_are_bounded(club: ClubMaker) -> None:
    """A user with a new browser every day has a row that does not grow."""
    home = club()
    for n in range(40):
        home.win(f"anon:{n}", f"{n}", at=n)
        home.become(f"anon:{n}")
    packed = home.row("anna")[b"v"]
    assert len(msgspec.msgpack.decode(packed)) == 20
    assert len(ids_of(home.row("anna")[b"d"])) <= 40


SHAPES: dict[str, dict[str, Any]] = {
    "sequence": {"sequence": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "1h"},
    "times": {"sequence": [{"event": "a", "times": 3}], "within": "20m"},
    "consecutive": {
        "sequence": [{"event": "a", "times": 3, "consecutive": True}],
        "subject": ["a", "b"],
        "within": "1h",
    },
    "gap": {"sequence": [{"event": "a"}, {"event": "b", "gap": "5m"}], "within": "1h"},
    "inner": {"sequence": [{"event": "a"}, {"event": "b", "times": 2, "inner": "3m"}], "within": "1h"},
    "guard": {"sequence": [{"event": "a"}, {"event": "b", "not_before": [{"event": "c"}]}], "within": "1h"},
    "all_of": {"all_of": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "30m"},
    "reset": {"sequence": [{"event": "a", "times": 2}], "within": "1h", "reset_on": [{"event": "c"}]},
    "overlap": {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "after_match": "overlap"},
    "every": {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "after_match": "every"},
    "once": {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "after_match": "once"},
    "per": {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "per": "x"},
    "absence": {"sequence": [{"event": "a"}], "unless": {"event": "b", "for": "10m"}},
    "last absence": {"sequence": [{"event": "a"}], "unless": {"event": "b", "for": "10m", "anchor": "last"}},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_login_in_the_middle_changes_no_match(club: ClubMaker, shape: dict[str, Any]) -> None:
    """For any trigger, events under two ids match exactly when the same events of one user would."""
    home = club(compiled(shape, channel="email"))
    rng = random.Random(str(shape))
    for n in range(25):
        at, stream = n * DAY, []
        for _ in range(rng.randint(4, 14)):
            at += rng.choice([SECOND, MINUTE, 4 * MINUTE, 12 * MINUTE])
            stream.append((rng.choice("abc"), at, rng.choice("xy")))
        cut = rng.randint(0, len(stream))
        for place, (event, when, x) in enumerate(stream):
            if place == cut:
                home.become(f"anon:{n}", f"half-{n}")
            home.send(f"whole-{n}", event, when, x=x)
            home.send(f"anon:{n}" if place < cut else rng.choice([f"anon:{n}", f"half-{n}"]), event, when, x=x)
        home.become(f"anon:{n}", f"half-{n}")
        home.wake_each(at + DAY // 2, f"anon:{n}", f"half-{n}", f"whole-{n}")
        halves = [when for name in (f"anon:{n}", f"half-{n}") for _, when in home.mails(name)]
        assert halves == [when for _, when in home.mails(f"whole-{n}")], (cut, stream)
