"""Replays: order, repeated messages, several campaigns and ids, compared with the oracle."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decider.event_index import EventIndex
from opportune.events import streams
from opportune.events.streams import InvalidStream, Recorded
from opportune.replay.engine import BLOCK, Match, Replay, UnsortedEvents
from shared.errors import OpportuneError
from shared.ruleset import Ruleset
from tests.support import oracle, strategies
from tests.support.builders import THREE_WINS, WINS, compiled

T0 = 1_790_000_000_000


def win(user: str, second: int, message_id: str = "", outcome: str = "win") -> Recorded:
    """Return the event of a game."""
    name = message_id or f"{user}-{second}"
    return Recorded(user, "game_result", name, {"outcome": outcome}, T0 + second * 1000, "f", second)


def fires(events: list[Recorded], *triggers: dict[str, Any], until: int | None = None) -> list[Match]:
    """Return the matches of *events*, in campaigns c0, c1 … with *triggers*."""
    replay = Replay([compiled(trigger, name=f"c{n}", channel="email") for n, trigger in enumerate(triggers)])
    found = list(replay.run(events))
    return found + (replay.finish(until) if until is not None else [])


def test_a_match_names_its_events() -> None:
    """A match has the ids of its three events and the times of the first and the last."""
    (fire,) = fires([win("a", 0), win("a", 1, outcome="loss"), win("a", 2), win("a", 3), win("a", 4)], THREE_WINS)
    assert (fire.user, fire.campaign, fire.message_ids) == ("a", "c0", ["a-2", "a-3", "a-4"])
    assert (fire.since, fire.at, fire.per, fire.reason) == (T0 + 2000, T0 + 4000, None, "match")


def test_without_ids_the_matches_are_the_same() -> None:
    """Only the message ids are missing."""
    events = [win("a", n) for n in range(9)]
    with_ids, without = (list(Replay([WINS], ids=ids).run(events)) for ids in (True, False))
    assert [fire._replace(message_ids=[]) for fire in with_ids] == without
    assert len(without) == 3


def test_a_repeated_message_counts_once_within_the_horizon() -> None:
    """Live and replayed, an id counts once among the newest 128, and for 15 minutes. Later it counts again."""
    replay = Replay([compiled({"sequence": [{"event": "game_result"}]})])
    first = [win("a", n * 1800, f"m{n}") for n in range(160)]
    last = 159 * 1800
    burst = [win("a", last + 1, f"b{n}") for n in range(3000)]
    repeats = [win("a", last + 1, f"m{n}") for n in (0, 15, 32, 159)]
    repeats += [win("a", last + 900, f"b{n}") for n in (0, 1, 2999)]
    events = [*first, *repeats[:4], *burst, *repeats[4:]]
    assert len(list(replay.run(events))) == 160 + 2 + 3000
    assert replay.duplicates == 5


def test_an_event_older_than_max_backdate_is_an_error() -> None:
    """The error has the place and names `--sort`. Events of different users may be in any order.

    Up to `max_backdate`, an event may be older than the one before it of the same user: five minutes, or the trigger's.
    """
    assert fires([win("a", 500), win("b", 3)], THREE_WINS) == []
    (match,) = fires([win("a", 500), win("b", 3), win("a", 200), win("a", 501)], THREE_WINS)
    assert (match.message_ids, match.since - T0, match.at - T0) == (["a-500", "a-200", "a-501"], 500_000, 501_000)
    with pytest.raises(UnsortedEvents, match=r"f:199: .*max_backdate.*--sort"):
        fires([win("a", 500), win("b", 3), win("a", 199)], THREE_WINS)
    patient = {**THREE_WINS, "max_backdate": "1h"}
    assert len(fires([win("a", 500), win("a", 199), win("a", 501)], patient)) == 1


def test_a_time_of_receipt_says_how_late_an_event_is() -> None:
    """An event that arrived more than `max_backdate` after it happened can stop a trigger, but not advance it."""

    def received(event: Recorded, second: int) -> Recorded:
        event.received = T0 + second * 1000
        return event

    assert len(fires([win("a", 0), received(win("a", 1), 301), win("a", 302)], THREE_WINS)) == 1
    assert fires([win("a", 0), received(win("a", 1), 302), win("a", 303)], THREE_WINS) == []
    silence = {"sequence": [{"event": "game_result", "where": {"outcome": "win"}}]} | {
        "unless": {"event": "game_result", "where": {"outcome": "loss"}, "for": "60s"}
    }
    late = [win("a", 0), received(win("a", 30, outcome="loss"), 64)]
    assert fires(late, silence, until=T0 + 100_000) == []
    late[1].received += 1000  # the absence has fired five seconds after its deadline
    (match,) = fires(late, silence)
    assert (match.reason, match.at - T0) == ("absence", 60_000)


@pytest.mark.parametrize(("gap", "matches"), [(-18, 0), (18, 1)])
def test_an_older_start_after_the_ending_event_starts_nothing(gap: int, matches: int) -> None:
    """An order at 20 s, and a cart that arrives after it: of before the order, or of after it."""
    silence = {"sequence": [{"event": "cart"}], "unless": {"event": "order", "for": "90s"}}
    events = [Recorded("a", "order", "m1", {}, T0, "f", 1), Recorded("a", "cart", "m2", {}, T0 + gap * 1000, "f", 2)]
    assert len(fires(events, silence, until=T0 + 3_600_000)) == matches


def test_blocks_do_not_change_the_matches() -> None:
    """A match across the border of two blocks is found, and every block is applied."""
    events = [win(f"u{n}", n) for n in range(BLOCK - 2)] + [win("a", BLOCK + n) for n in range(4)]
    assert [fire.message_ids for fire in fires(events, THREE_WINS)] == [[f"a-{BLOCK + n}" for n in range(3)]]


def test_campaigns_with_the_same_event_are_independent() -> None:
    """Each campaign has its own progress. An event may complete several of them."""
    pair = {"sequence": [{"event": "game_result", "times": 2}], "within": "1h"}
    found = fires([win("a", n) for n in range(6)], THREE_WINS, pair)
    assert sorted((fire.campaign, fire.at - T0) for fire in found) == [
        ("c0", 2000),
        ("c0", 5000),
        ("c1", 1000),
        ("c1", 3000),
        ("c1", 5000),
    ]


def test_absences_at_the_end_fire_in_order_of_time() -> None:
    """`finish` fires each pending run at its deadline, up to a given time."""
    silence = {"sequence": [{"event": "add"}], "unless": {"event": "buy", "for": "10s"}, "per": "cart"}
    events = [Recorded("a", "add", f"m{n}", {"cart": f"c{n}"}, T0 + n * 1000, "f", n) for n in (2, 1, 0)][::-1]
    found = fires(events, silence, until=T0 + 11_000)
    assert [(fire.per, fire.at - T0, fire.reason) for fire in found] == [
        ('["c0"]', 10_000, "absence"),
        ('["c1"]', 11_000, "absence"),
    ]


def test_many_users_and_campaigns_match_the_oracle() -> None:
    """The matches of 3,000 random events of 50 users with three triggers are those of the oracle."""
    rng = random.Random(11)
    triggers: list[dict[str, Any]] = [
        THREE_WINS,
        {
            "sequence": [{"event": "game_result"}, {"event": "game_result", "directly": True, "gap": "20s"}],
            "within": "40s",
        },
        {"all_of": [{"event": "game_result", "where": {"outcome": o}} for o in ("win", "loss")], "within": "9s"},
    ]
    events = [
        win(f"u{rng.randrange(50)}", second, f"m{second}", rng.choice(["win", "win", "loss"])) for second in range(3000)
    ]
    expected = [
        (f"u{user}", f"c{n}", fire.at)
        for n, trigger in enumerate(triggers)
        for user in range(50)
        for fire in oracle.fires(
            trigger,
            [oracle.Seen(e.event, e.attributes, e.at, e.at, e.message_id) for e in events if e.user == f"u{user}"],
        )
    ]
    found = [(fire.user, fire.campaign, fire.at) for fire in fires(events, *triggers)]
    assert sorted(found) == sorted(expected)
    assert len(found) > 100


def test_events_up_to_max_backdate_late_match_the_oracle() -> None:
    """Without times of receipt, an event arrives with the newest one before it. The oracle reads it alike."""
    rng = random.Random(3)
    checked = moved = matched = 0
    while checked < 600:
        trigger, stream = strategies.random_pair(rng)
        try:
            campaign = compiled(trigger, channel="email")
        except (ValueError, OpportuneError):
            continue  # a trigger that can never fire is invalid
        checked += 1
        index = EventIndex(Ruleset(site="demo", version=1, keys=[], campaigns=[campaign]))
        backdate = oracle.milliseconds(trigger.get("max_backdate", 300_000))
        newest, seen = 0, []
        for each in stream:
            if any(hit.bits for hit in index.lookup(each.event, each.attributes)):
                newest = max(newest, each.at)
                if newest - each.at <= backdate:
                    moved += each.at < newest
                    seen.append(replace(each, received=newest))
        replay = Replay([campaign])
        events = [Recorded("u", e.event, e.message_id, dict(e.attributes), e.at, "f", n) for n, e in enumerate(seen)]
        until = newest + 100_000_000
        found = [*replay.run(events), *replay.finish(until)]
        expected = oracle.fires(trigger, seen, until=until)
        assert sorted((fire.at, fire.reason) for fire in found) == sorted(
            (fire.at, fire.reason) for fire in expected
        ), (trigger, seen)
        matched += len(found)
    assert moved > 200
    assert matched > 200


def written(folder: Path, *lines: str) -> list[Recorded]:
    """Write *lines* to a file and return the events read from it."""
    path = folder / "e.ndjson"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(streams.read_events(path))


def test_lines_are_read_leniently_and_keep_their_numbers(tmp_path: Path) -> None:
    """Blank lines, other calls, nulls, numeric ids and all forms of time are accepted."""
    events = written(
        tmp_path,
        '{"type": "track", "userId": "a", "event": "e", "timestamp": "2026-01-01T00:00:00.250Z", "messageId": "m"}',
        "",
        '{"type": "identify", "userId": "a", "name": "home"}',
        '{"userId": null, "anonymousId": "x", "event": "e", "timestamp": "2026-01-01T00:00:00.500Z",'
        ' "properties": null}',
        '{"userId": 7, "event": "e", "timestamp": 1767225600750}',
        '{"userId": "b", "event": "é", "timestamp": "2026-01-01T01:00:01+01:00", "properties": {"n": 1}}',
        '{"userId": "b", "event": "e", "timestamp": "2026-01-01T00:00:01.000Z", "originalTimestamp": "2026-01-01"}',
    )
    base = 1767225600000
    assert [(e.user, e.event, e.at - base, e.line) for e in events] == [
        ("a", "e", 250, 1),
        ("anon:x", "e", 500, 4),
        ("7", "e", 750, 5),
        ("b", "é", 1000, 6),
        ("b", "e", 0, 7),
    ]
    assert [e.message_id for e in events] == ["m"] + [f"e.ndjson:{e.line}@{e.at}" for e in events[1:]]
    assert events[1].attributes == {}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{cut", "e.ndjson:2"),
        ('{"event": "e", "timestamp": 1}', "userId"),
        ('{"userId": "a", "timestamp": 1}', "event"),
        ('{"userId": "a", "event": "e"}', "timestamp"),
        ('{"userId": "a", "event": "e", "timestamp": "2026-13-01T00:00:00.000Z"}', "timestamp"),
        ('{"userId": "a", "event": "e", "timestamp": "2026-01-01T00:00:00.00xZ"}', "timestamp"),
        ('{"userId": "a", "event": "e", "timestamp": 1, "properties": [1]}', "properties"),
        ('{"userId": ["a"], "event": "e", "timestamp": 1}', "userId"),
        ("[]", "e.ndjson:2"),
    ],
)
def test_an_invalid_line_is_reported(tmp_path: Path, line: str, says: str) -> None:
    """The error has the file, the line and the problem."""
    good = json.dumps({"userId": "a", "event": "e", "timestamp": "2026-01-01T00:00:00.000Z"})
    with pytest.raises(InvalidStream) as failure:
        written(tmp_path, good, line, good)
    assert "e.ndjson:2" in failure.value.message
    assert says in failure.value.message
