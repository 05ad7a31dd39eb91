"""Messages that are sent again, on a real server: each counts once, however many others came in between.

The class: a client that got no answer sends the same messages again: one, a whole batch of 2,500, or several batches;
at once, minutes later, or after a login; in one request or in many. Whatever it repeats must change nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys
from decider.layout import Outcome
from decider.user_admin import forget
from decider.user_state import UserStateStore
from opportune.events.streams import Recorded
from opportune.replay.engine import Replay
from shared.contracts import Decide, Event, ForgetUser
from shared.identities import Identification
from tests.integration.decider.test_gates import campaign
from tests.integration.decider.test_user_state import row_of
from tests.integration.decider.test_visitors import VISITOR, Club, make_club
from tests.integration.decider.test_wake import MINUTE, SECOND
from tests.support import oracle
from tests.support.builders import THREE_WINS, WON, call_for, compiled
from tests.support.rows import ids_of

pytestmark = pytest.mark.both_engines
T0 = 1_790_000_000_000
SEVEN: dict[str, Any] = {"sequence": [{"event": "x", "times": 7}], "within": "1h"}


@pytest.fixture(name="rows")
def _rows(redis_client: Redis) -> UserStateStore:
    return UserStateStore(lambda: redis_client)


@pytest.fixture(name="club")
def _club(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> Callable[..., Club]:
    return partial(make_club, redis_client, mongodb)


def seven(
    rows: UserStateStore, user: str, ids: list[str], *, at: int = 0, source: dict[str, Any] = SEVEN
) -> list[Outcome]:
    """Send events with *ids*; return the outcomes."""
    single = compiled(source)
    found = []
    for n, name in enumerate(ids):
        result = rows.apply(call_for(single, user, name, at=T0 + at, event="x"))
        found.append(result.code)
        if result.code is Outcome.DECIDED:
            matches.setdefault(user, []).extend([n] * len(result.firings))
    return found


matches: dict[str, list[int]] = {}


@pytest.fixture(autouse=True)
def _no_matches() -> None:
    matches.clear()


def matched(home: Club) -> set[str]:
    """Return the ids of the activations in the queue: the Engager delivers each once, however often it gets it."""
    return {each.id for each in home.post.queued}


@pytest.mark.parametrize(("count", "later"), [(129, 0), (250, 0), (301, SECOND), (2_500, 0), (2_500, 14 * MINUTE)])
def test_a_batch_that_is_sent_twice_counts_once(rows: UserStateStore, count: int, later: int) -> None:
    """250 events of `times: 7` give 35 matches, sent once or twice, at once or 14 minutes later."""
    ids = [f"m{n}" for n in range(count)]
    assert set(seven(rows, "anna", ids)) == {Outcome.DECIDED}
    assert set(seven(rows, "anna", ids, at=later)) == {Outcome.SEEN}
    assert len(matches["anna"]) == count // 7


def test_two_batches_and_then_both_again(rows: UserStateStore) -> None:
    """5,000 events within a few minutes are remembered, too."""
    ids = [f"m{n}" for n in range(5_000)]
    seven(rows, "anna", ids[:2_500])
    seven(rows, "anna", ids[2_500:], at=5 * MINUTE)
    assert set(seven(rows, "anna", ids, at=10 * MINUTE)) == {Outcome.SEEN}
    assert len(matches["anna"]) == 5_000 // 7


def test_one_id_after_each_number_of_others(rows: UserStateStore) -> None:
    """The first message again, after 1, 2, 3 … 400 others."""
    for n in range(400):
        seven(rows, "anna", [f"m{n}"])
        assert seven(rows, "anna", ["m0"]) == [Outcome.SEEN]


def test_wins_that_are_repeated_after_a_death_count_once(club: Callable[..., Club]) -> None:
    """The function dies after 301 wins and before it hands anything over: 100 messages, not 200."""
    home = club(compiled(THREE_WINS, channel="email"))
    events = [
        Event(user="anna", event="game_result", message_id=f"m{n}", at=T0 + n, received=T0 + 400, attributes=WON)
        for n in range(301)
    ]
    request = Decide("demo", list(events), deadline=T0 + 2000)
    home.post.refused = 1
    with pytest.raises(Exception, match="refused"):
        home.ingest(request)
    home.ingest(request)
    home.wake(31 * SECOND + 400)
    assert len(matched(home)) == 100
    home.ingest(request)
    assert len(matched(home)) == 100


def test_a_visitors_batch_is_repeated_with_the_users_id(club: Callable[..., Club]) -> None:
    """After the login, the same 301 messages come as the visitor's and as the user's: nothing counts again."""
    home = club(compiled(SEVEN, channel="email"))
    for n in range(301):
        home.send(VISITOR, "x", n, message_id=f"m{n}", received=400)
    home.become(at=SECOND)
    for user in (VISITOR, "anna"):
        for n in range(301):
            home.send(user, "x", n, message_id=f"m{n}", received=2 * SECOND)
    assert len(matched(home)) == 301 // 7
    for n in range(301, 308):
        home.send("anna", "x", n, received=3 * SECOND)
    assert len(matched(home)) == 308 // 7


def test_two_busy_rows_become_one(club: Callable[..., Club]) -> None:
    """Both have sent 400 messages. After the login, all 800 are known to the user's row."""
    home = club(compiled(SEVEN, channel="email"))
    for user in (VISITOR, "anna"):
        for n in range(400):
            home.send(user, "x", n, message_id=f"{user} {n}", received=400)
    home.become(at=SECOND)
    sent = len(matched(home))
    for user in (VISITOR, "anna"):
        for n in range(400):
            home.send("anna", "x", n, message_id=f"{user} {n}", received=2 * SECOND)
    assert len(matched(home)) == sent


def test_ids_that_are_repeated_within_a_request_count_once(club: Callable[..., Club]) -> None:
    """Every message three times in one batch, the repetitions far apart."""
    home = club(compiled(SEVEN, channel="email"))
    events = [
        Event(user="anna", event="x", message_id=f"m{n}", at=T0, received=T0) for _ in range(3) for n in range(200)
    ]
    decided = home.ingest(Decide("demo", list(events), deadline=T0 + 2000))
    assert len(decided.decisions) == 600
    assert len(home.post.queued) == 200 // 7


def test_forgetting_a_user_forgets_the_ids(club: Callable[..., Club], redis_client: Redis) -> None:
    """The ids of a busy user are in the row, so they go with it; nothing stays under another key."""
    home = club(compiled(SEVEN, channel="email"))
    for n in range(300):
        home.send("anna", "x", n, message_id=f"m{n}", received=400)
    assert b"b" in redis_client.hgetall(row_of("anna"))
    forget(ForgetUser("demo", "anna"), home.deps)
    assert not [key for key in redis_client.keys("*") if b"anna" in key]


def test_an_ordinary_row_has_no_more_fields(rows: UserStateStore, redis_client: Redis) -> None:
    """An event every minute: the ids take what they took, and the field of busy users never appears."""
    single = compiled(SEVEN)
    for n in range(300):
        rows.apply(call_for(single, "slow", f"m{n}", at=T0 + n * MINUTE, event="x"))
        row = redis_client.hgetall(row_of("slow"))
        assert b"b" not in row
        assert len(row[b"d"]) <= 1024
    assert 128 <= len(ids_of(row[b"d"])) < 136


def test_what_a_busy_row_remembers_goes_with_time(rows: UserStateStore, redis_client: Redis) -> None:
    """16 minutes after a batch of 2,500, one event drops the ids that need not be remembered."""
    seven(rows, "anna", [f"m{n}" for n in range(2_500)])
    before = redis_client.hgetall(row_of("anna"))
    assert len(ids_of(before[b"b"]) | ids_of(before[b"d"])) == 2_500
    seven(rows, "anna", ["later"], at=16 * MINUTE)
    after = redis_client.hgetall(row_of("anna"))
    assert b"b" not in after
    assert len(ids_of(after[b"d"])) >= 128


def test_results_are_those_of_remembered_messages_and_bounded(rows: UserStateStore, redis_client: Redis) -> None:
    """1,000 matches leave results of the newest messages: at most 32 KB. Each of these gets its result again."""
    single = compiled({"sequence": [{"event": "x"}]})
    firings = [rows.apply(call_for(single, "busy", f"m{n}", at=T0 + n, event="x")).firings for n in range(1000)]
    row = redis_client.hgetall(row_of("busy"))
    assert len(row[b"r"]) <= 32_768
    again = [rows.apply(call_for(single, "busy", f"m{n}", at=T0 + n, event="x")) for n in range(1000)]
    assert {each.code for each in again} == {Outcome.SEEN}
    assert [each.firings for each in again[-60:]] == firings[-60:]


def test_results_of_an_ordinary_row_do_not_stay(rows: UserStateStore, redis_client: Redis) -> None:
    """A match leaves its result until its message is no longer among the newest."""
    rows.apply(call_for(compiled({"sequence": [{"event": "x"}]}), "anna", "fires", at=T0, event="x"))
    for n in range(150):
        seven(rows, "anna", [f"m{n}"], at=n * MINUTE, source=SEVEN | {"within": "10s"})
    assert b"r" not in redis_client.hgetall(row_of("anna"))


@pytest.mark.parametrize("count", [129, 250, 2_500])
def test_replay_and_definition_agree_with_live(rows: UserStateStore, count: int) -> None:
    """The same stream, each event twice, half of them as a second batch."""
    order = [f"m{n}" for n in range(count)] * 2
    seven(rows, "anna", order)
    recorded = [Recorded("anna", "x", name, {}, T0) for name in order]
    replayed = list(Replay([compiled(SEVEN)]).run(recorded))
    defined = oracle.fires(SEVEN, [oracle.Seen("x", {}, T0, T0, name) for name in order])
    assert len(matches["anna"]) == len(replayed) == len(defined) == count // 7


def test_identifications_in_the_same_request_change_nothing(club: Callable[..., Club]) -> None:
    """A batch with a login in its middle is sent twice."""
    home = club(compiled(SEVEN, channel="email"))
    events: list[Any] = [
        Event(user=VISITOR if n < 100 else "anna", event="x", message_id=f"m{n}", at=T0 + n, received=T0 + 300)
        for n in range(200)
    ]
    events.insert(100, Identification("anna", T0 + 300, visitor=VISITOR, at=T0 + 100))
    request = Decide("demo", events, deadline=T0 + 2000)
    home.ingest(request)
    home.ingest(request)
    assert len(matched(home)) == 200 // 7


def test_the_digest_is_long_enough() -> None:
    """Half a million ids: no two have the same seven bytes."""
    assert len({keys.message_digest(f"m{n}")[:7] for n in range(500_000)}) == 500_000


def test_a_campaign_without_progress_repeats_nothing(club: Callable[..., Club]) -> None:
    """Each event matches: 300 in a batch, sent twice, are 300 messages."""
    home = club(campaign())
    events = [Event(user="anna", event="pay", message_id=f"m{n}", at=T0, received=T0) for n in range(300)]
    for _ in range(2):
        home.ingest(Decide("demo", list(events), deadline=T0 + 2000))
    assert len(matched(home)) == 300
