"""The row script on a real server: duplicates, races, targets, size, slots."""

import random
import threading
from typing import Any

import msgspec
import pytest
from redis import Redis

from decider import keys
from decider.layout import Outcome
from decider.user_state import ApplyEvent, TriggerCall, UserStateStore
from decider.wiring import redis_client as connect
from tests.support.builders import THREE_WINS, WINS, WON, call_for, compiled

pytestmark = pytest.mark.both_engines
T0 = 1_790_000_000_000


@pytest.fixture(name="rows")
def _rows(redis_client: Redis) -> UserStateStore:
    return UserStateStore(lambda: redis_client)


def row_of(user: str) -> str:
    """Return the key of a user's row."""
    return keys.row(keys.partition("demo", user), "demo", user)


def wins(rows: UserStateStore, user: str, times: list[int], **changes: Any) -> list[list[int]]:
    """Send wins at *times* (s); return the times of the firings of each."""
    return [
        [firing.at for firing in rows.apply(call_for(WINS, user, f"{user}-{t}", at=T0 + t * 1000, **changes)).firings]
        for t in times
    ]


def test_third_win_fires_once_and_uses_progress_up(rows: UserStateStore) -> None:
    """Three wins fire at the third; the next two do not, the sixth does."""
    assert [len(firings) for firings in wins(rows, "anna", [0, 1, 2, 3, 4, 5])] == [0, 0, 1, 0, 0, 1]


def test_window_is_half_open(rows: UserStateStore) -> None:
    """Wins 600 s apart are no longer within ten minutes; 599 s apart they are."""
    assert [len(firings) for firings in wins(rows, "edge", [0, 1, 600])] == [0, 0, 0]
    assert [len(firings) for firings in wins(rows, "inner", [0, 1, 599])] == [0, 0, 1]


def test_a_seen_message_returns_the_same_answer_and_changes_nothing(rows: UserStateStore, redis_client: Redis) -> None:
    """The completing event, sent again, returns the stored firings. The row does not change."""
    wins(rows, "twice", [0, 1])
    call = call_for(WINS, "twice", "third", at=T0 + 2000)
    first = rows.apply(call)
    before = redis_client.hgetall(row_of("twice"))
    again = rows.apply(call)
    assert (first.code, again.code) == (Outcome.DECIDED, Outcome.SEEN)
    assert again.firings == first.firings != []
    assert redis_client.hgetall(row_of("twice")) == before


def test_sixteen_threads_send_the_same_message(rows: UserStateStore) -> None:
    """One of them decides, fifteen get its result. The match exists once."""
    wins(rows, "crowd", [0, 1])
    answers = together(16, lambda _: rows.apply(call_for(WINS, "crowd", "third", at=T0 + 2000)))
    assert sorted(answer.code for answer in answers) == [Outcome.DECIDED] + [Outcome.SEEN] * 15
    assert all(answer.firings == answers[0].firings and answer.firings for answer in answers)


def test_two_different_third_wins_at_once_give_one_match(rows: UserStateStore) -> None:
    """The first one completes the match and uses the wins up; 200 rounds."""
    for n in range(200):
        user = f"race-{n}"
        wins(rows, user, [0, 1])
        answers = together(2, lambda k, user=user: rows.apply(call_for(WINS, user, f"x{k}", at=T0 + 2000)))
        assert sum(len(answer.firings) for answer in answers) == 1


def test_untargeted_user_costs_one_command_and_keeps_no_progress(rows: UserStateStore, redis_client: Redis) -> None:
    """Once the row knows that the user is not a target, one command suffices, and only the targets are stored."""
    grouped = compiled(THREE_WINS, everyone=False)
    first = rows.apply(call_for(grouped, "bob", "1", at=T0))
    looked = rows.apply(call_for(grouped, "bob", "1", at=T0, targets=[], keep=[]))
    after = rows.apply(call_for(grouped, "bob", "2", at=T0))
    assert [a.code for a in (first, looked, after)] == [
        Outcome.TARGETS_UNKNOWN,
        Outcome.NO_TARGET,
        Outcome.NO_TARGET,
    ]
    assert set(redis_client.hgetall(row_of("bob"))) == {b"g"}


def test_new_generation_asks_again_and_drops_what_is_no_longer_targeted(
    rows: UserStateStore, redis_client: Redis
) -> None:
    """A user who leaves a group loses the progress; one who stays keeps it."""
    grouped = compiled(THREE_WINS, everyone=False)
    key = grouped.trigger.key
    for user, targets in (("stays", [key]), ("falls", [])):
        rows.apply(call_for(grouped, user, "1", at=T0, targets=[key], keep=[key]))
        call = call_for(grouped, user, "2", at=T0 + 1, generation=2)
        assert rows.apply(call).code is Outcome.TARGETS_UNKNOWN
        call.targets, call.keep = targets, targets
        rows.apply(call)
    assert f"t:{key}".encode() in redis_client.hgetall(row_of("stays"))
    assert f"t:{key}".encode() not in redis_client.hgetall(row_of("falls"))


def test_older_ruleset_is_told_to_reload(rows: UserStateStore) -> None:
    """A function with an older ruleset cannot undo what newer ones have stored."""
    rows.apply(call_for(WINS, "user", "1", at=T0, ruleset=7))
    assert rows.apply(call_for(WINS, "user", "2", at=T0, ruleset=6)).code is Outcome.RULESET_OUTDATED


def test_history_before_the_last_event_is_refused(rows: UserStateStore, redis_client: Redis) -> None:
    """History does not mix with later events: nothing is written."""
    rows.apply(call_for(WINS, "mixed", "1", at=T0))
    before = redis_client.hgetall(row_of("mixed"))
    answer = rows.apply(call_for(WINS, "mixed", "2", at=T0 - 1, history=True))
    assert answer.code is Outcome.HISTORY_TOO_LATE
    assert redis_client.hgetall(row_of("mixed")) == before


def test_late_event_cannot_advance(rows: UserStateStore) -> None:
    """A win that is reported more than five minutes late is not a third win."""
    three = compiled({"sequence": [{"event": "game_result", "where": WON, "times": 3}], "within": "10m"})
    for n in range(2):
        rows.apply(call_for(three, "late", f"m{n}", at=T0 + n))
    late = call_for(three, "late", "late", at=T0 + 2000, received=T0 + 2000 + 300_001)
    assert rows.apply(late).firings == []
    in_time = call_for(three, "late", "in time", at=T0 + 3000, received=T0 + 3000 + 300_000)
    assert len(rows.apply(in_time).firings) == 1


def test_row_of_one_active_three_step_trigger_stays_small(rows: UserStateStore, redis_client: Redis) -> None:
    """Two wins of three take under 256 bytes on the server, with key and overhead."""
    wins(rows, "player-1234567890", [0, 200])
    used = redis_client.memory_usage(row_of("player-1234567890"), samples=0)
    assert used is not None
    assert used < 256


def test_row_expires_after_its_longest_window(rows: UserStateStore, redis_client: Redis) -> None:
    """The key has the requested time to live."""
    rows.apply(call_for(WINS, "user", "1", at=T0, ttl=172_800_000))
    assert 172_700_000 < redis_client.pttl(row_of("user")) <= 172_800_000


def test_every_key_is_declared_and_in_one_slot(cluster_url: str) -> None:
    """On three nodes the script runs for users of all partitions. A node rejects an undeclared key."""
    client = connect(cluster_url, cluster=True)
    rows = UserStateStore(lambda: client)
    rng = random.Random(3)
    for _ in range(60):
        user = f"user-{rng.random()}"
        assert [len(firings) for firings in wins(rows, user, [0, 1, 2])] == [0, 0, 1]


def test_a_flushed_script_cache_is_filled_again(rows: UserStateStore, redis_client: Redis) -> None:
    """After SCRIPT FLUSH the next call sends the text."""
    wins(rows, "flush", [0])
    redis_client.script_flush()
    assert [len(firings) for firings in wins(rows, "flush", [1, 2])] == [0, 1]


def test_runs_of_different_values_are_apart_and_bounded(rows: UserStateStore, redis_client: Redis) -> None:
    """Each cart has its own progress. Of 21 carts the oldest is evicted."""
    per_cart = compiled({"sequence": [{"event": "add", "times": 2}], "within": "1h", "per": "cart"})
    field = f"t:{per_cart.trigger.key}"
    for cart in range(21):
        call = call_for(per_cart, "carts", f"a{cart}", at=T0 + cart, event="add", attributes={"cart": f"c{cart}"})
        assert rows.apply(call).firings == []
    packed = redis_client.hget(row_of("carts"), field)
    assert isinstance(packed, bytes)
    stored = msgspec.msgpack.decode(packed)
    assert [run[0] for run in stored] == [f'["c{n}"]' for n in range(1, 21)]
    again = call_for(per_cart, "carts", "b20", at=T0 + 99, event="add", attributes={"cart": "c20"})
    assert [firing.per for firing in rows.apply(again).firings] == ['["c20"]']


def test_trigger_call_defaults_are_what_the_script_reads() -> None:
    """The wrapper sends every field without a default. The script reads a missing field as nil."""
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(call_for(WINS, "anna", "1", at=T0)))
    assert {
        "site",
        "user",
        "message_id",
        "at",
        "received",
        "generation",
        "ruleset",
        "ttl",
        "triggers",
    } <= set(packed)
    assert set(packed["triggers"][0]) == set(TriggerCall.__struct_fields__) - {"watch", "gate", "offer"}
    assert isinstance(call_for(WINS, "anna", "1", at=T0), ApplyEvent)


def together(count: int, work: Any) -> list[Any]:
    """Run *work* in *count* threads that start together; return the results."""
    barrier, results = threading.Barrier(count), [None] * count

    def start(n: int) -> None:
        barrier.wait()
        results[n] = work(n)

    threads = [threading.Thread(target=start, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
