"""`opportune replay --explain`: its matches equal those of a replay, and its reasons are correct."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from definitions.compiler.ruleset import compile_campaign
from definitions.model.campaign import Campaign
from opportune.events import streams
from opportune.replay.engine import Replay, UnsortedEvents
from opportune.replay.explain import explanation, table, words
from opportune.replay.explain.model import Entry, Explained
from shared.errors import OpportuneError
from tests.support import strategies

MINUTE = 60_000
START = 1_767_261_600_000  # 2026-01-01 10:00
FAR = 10**9
SEED = 20_261_031
WIN = {"outcome": "win"}
LOSS = {"outcome": "loss"}
TWO_REASONS = (
    "no match: the 3rd game (outcome = win) came 12m after the 1st; within is 10m "
    "and game (outcome: loss) at 10:02:00 in between broke the row"
)
CLOSEST = "no match; closest: the 3rd game (outcome = win) came 11m after the 1st; within is 10m (2026-01-01 10:11:00)"
EVERYTHING = (
    "a or b (n from 1 to 5, not t = true), then directly c less than 1m 30s later with no d before it, "
    "then 2 × e in less than 2m, within 1h, then no order for 30m (the wait restarts each time); "
    "logout resets it; separately for each cart_id and shop; matches may overlap"
)
WINS = {"sequence": [{"event": "game", "where": WIN, "times": 3, "consecutive": True}], "within": "10m"}

Told = tuple[float, str] | tuple[float, str, dict[str, Any]]  # minutes after the start, event, attributes


def campaign(trigger: dict[str, Any]) -> Campaign:
    """Return a campaign with *trigger*."""
    content = {"subject": "Hi", "text": "there"}
    whole = {"id": "c", "name": "C", "targets": "everyone", "trigger": trigger, "channel": "email", "content": content}
    return Campaign.model_validate(whole)


def recorded(path: Path, events: list[dict[str, Any]]) -> list[streams.Recorded]:
    """Return *events* as read from a file."""
    path.write_text("".join(json.dumps({"type": "track", "userId": "u", **each}) + "\n" for each in events))
    return list(streams.read_events(path, {}))


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def story(path: Path, trigger: dict[str, Any], told: list[Told], *, until: float | None = None) -> Explained:
    """Explain the events *told*, up to minute *until* or the last event."""
    events: list[dict[str, Any]] = [
        {"timestamp": START + round(each[0] * MINUTE), "event": each[1], "properties": each[2] if len(each) > 2 else {}}
        for each in told
    ]
    seen = explanation.gather(recorded(path, events), "u", in_order=False)
    end = seen[-1].event.at if until is None else START + round(until * MINUTE)
    return explanation.explain([campaign(trigger)], seen, end)[0]


def last(path: Path, trigger: dict[str, Any], told: list[Told]) -> Entry:
    """Return the explanation of the last event."""
    return story(path, trigger, told).events[-1]


def test_progress_is_explained_up_to_the_match(path: Path) -> None:
    """The third of three events fires, with the ids of all three. The next event starts again."""
    told = story(path, WINS, [(n, "game", WIN) for n in range(4)])
    assert [entry.progress and entry.progress.text for entry in told.events] == [
        f"{n} of 3 game (outcome = win)" for n in (1, 2, 3, 1)
    ]
    fired = told.events[2].fired
    assert fired is not None
    assert (fired.at - fired.since, len(fired.message_ids)) == (2 * MINUTE, 3)
    assert [entry.why_not for entry in told.events] == [None] * 4
    assert (told.matches, told.verdict) == (1, "matched once")


@pytest.mark.parametrize(
    ("trigger", "told", "why"),
    [
        (
            WINS,
            [(0, "game", WIN), (5, "game", WIN), (11, "game", WIN)],
            "no match: the 3rd game (outcome = win) came 11m after the 1st; within is 10m",
        ),
        (
            WINS,
            [(0, "game", WIN), (5, "game", WIN), (10, "game", WIN)],
            "no match: the 3rd game (outcome = win) came 10m after the 1st; within is 10m, and that means less",
        ),
        (
            WINS,
            [(0, "game", WIN), (1, "game", WIN), (2, "game", LOSS), (3, "game", WIN)],
            "no match: game (outcome: loss) at 10:02:00 in between broke the row",
        ),
        (
            WINS,
            [(0, "game", WIN), (1, "game", WIN), (2, "game", LOSS), (12, "game", WIN)],
            TWO_REASONS,
        ),
        (
            {"sequence": [{"event": "login"}, {"event": "buy", "not_before": [{"event": "logout"}]}], "within": "1h"},
            [(0, "login"), (1, "logout"), (2, "buy")],
            "no match: the guard not_before saw logout at 10:01:00",
        ),
        (
            {"sequence": [{"event": "cart"}, {"event": "buy", "directly": True}], "within": "1h"},
            [(0, "cart"), (1, "buy"), (2, "cart"), (3, "cart"), (4, "buy"), (5, "buy")],
            "no earlier step that it could follow",
        ),
        (
            {
                "sequence": [{"event": "a"}, {"event": "b", "directly": True}],
                "subject": ["a", "b", "x"],
                "within": "1h",
            },
            [(0, "a"), (1, "x"), (2, "b")],
            "no match: x at 10:01:00 came in between, and 'directly' allows none",
        ),
        (
            {"sequence": [{"event": "view"}, {"event": "cart", "gap": "5m"}], "within": "1h"},
            [(0, "view"), (6, "cart")],
            "no match: cart came 6m after view; gap is 5m",
        ),
        (
            {"sequence": [{"event": "a"}, {"event": "b", "times": 2, "inner": "2m"}], "within": "1h"},
            [(0, "a"), (1, "b"), (4, "b")],
            "no match: the 2nd b came 3m after the 1st; inner is 2m",
        ),
        (
            {"sequence": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "5m"},
            [(0, "a"), (7, "b")],
            "not step 2 of 3 (b): b came 7m after a; within is 5m",
        ),
        (
            {"sequence": [{"event": "a", "times": 2}], "within": "1h", "reset_on": [{"event": "logout"}]},
            [(0, "a"), (1, "logout"), (2, "a")],
            "no match: reset_on saw logout at 10:01:00",
        ),
        (
            {"all_of": [{"event": "a"}, {"event": "b"}], "within": "5m"},
            [(0, "a"), (7, "b")],
            "no match: b came 7m after a; within is 5m",
        ),
        (
            {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "after_match": "overlap"},
            [(0, "a"), (1, "b"), (2, "b")],
            "no match: each event can begin only one match, and the first event of this one already did",
        ),
        (
            {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "per": "cart_id"},
            [(0, "a", {"cart_id": "c1"}), (1, "b")],
            "cart_id missing: it belongs to no run",
        ),
        (
            {"sequence": [{"event": "pay", "where": {"amount": {"gte": 100}, "currency": "EUR"}}]},
            [(0, "pay", {"amount": 7})],
            "amount is 7, expected: amount ≥ 100; currency is missing, expected: currency = EUR",
        ),
        (
            {"sequence": [{"event": "a"}], "after_match": "once"},
            [(0, "a"), (1, "a")],
            "has already matched, and after_match is once",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_says_why_an_event_led_no_further(path: Path, trigger: dict[str, Any], told: list[Told], why: str) -> None:
    """The reason names what happened, and what the constraint allows."""
    entry = last(path, trigger, told)
    assert why in (entry.why_not, *entry.effects)
    assert entry.fired is None


def test_successful_events_have_no_reason_against_them(path: Path) -> None:
    """Pairs with `directly` match, and an event without a pair needs no reason."""
    trigger = {"sequence": [{"event": "cart"}, {"event": "buy", "directly": True}], "within": "1h"}
    told = story(path, trigger, [(0, "cart"), (1, "buy"), (2, "cart"), (3, "cart"), (4, "buy")])
    assert [entry.fired is not None for entry in told.events] == [False, True, False, False, True]
    assert [entry.why_not for entry in told.events] == [None] * 5
    assert told.verdict == "matched twice"


@pytest.mark.parametrize(
    ("trigger", "told", "says"),
    [
        (WINS, [(0, "game", WIN), (1, "game", LOSS)], "1 of 3 game (outcome = win) lost: it breaks the row"),
        (
            {"sequence": [{"event": "a", "times": 2}], "within": "1h", "reset_on": [{"event": "x"}]},
            [(0, "a"), (1, "x")],
            "1 of 2 a lost: reset_on",
        ),
        (
            {"sequence": [{"event": "a"}, {"event": "b", "not_before": [{"event": "x"}]}], "within": "1h"},
            [(0, "a"), (1, "x")],
            "step 1 of 2 (a) lost: the guard not_before allows none of these",
        ),
        (WINS, [(0, "game", WIN), (10, "game", LOSS)], "1 of 3 game (outcome = win) lost: within 10m is over"),
    ],
    ids=["consecutive", "reset_on", "not_before", "within"],
)
def test_lost_progress_is_explained(path: Path, trigger: dict[str, Any], told: list[Told], says: str) -> None:
    """The effect names the lost progress, and the rule that ended it."""
    assert last(path, trigger, told).effects == [says]


def test_an_event_has_its_roles_in_the_trigger(path: Path) -> None:
    """An event may have several roles."""
    trigger = {
        "sequence": [{"event": "a"}, {"event": "b", "directly": True, "not_before": [{"event": "x"}]}],
        "subject": ["a", "b", "y"],
        "reset_on": [{"event": "x"}],
        "unless": {"event": "b", "for": "5m"},
        "within": "1h",
    }
    told = story(path, trigger, [(n, name) for n, name in enumerate("abxyz")])
    assert [(entry.event, entry.roles, entry.status) for entry in told.events] == [
        ("a", ["step 1"], "applied"),
        ("b", ["step 2", "unless"], "applied"),
        ("x", ["not_before of step 2", "reset_on"], "applied"),
        ("y", ["subject"], "applied"),
        ("z", [], "irrelevant"),
    ]


ABANDONED = {"sequence": [{"event": "cart"}], "unless": {"event": "order", "for": "30m"}}


def test_an_absence_is_listed_at_its_deadline(path: Path) -> None:
    """Its entry is between the events before and after the deadline, even if those are irrelevant."""
    told = story(path, ABANDONED, [(0, "cart"), (20, "ping"), (31, "ping"), (40, "cart"), (41, "order")], until=90)
    assert [(entry.at - START) // MINUTE for entry in told.events] == [0, 20, 30, 31, 40, 41]
    deadline = told.events[2]
    assert (deadline.status, deadline.shown, deadline.event) == ("deadline", "no order for 30m", None)
    assert deadline.fired is not None
    assert deadline.fired.reason == "absence"
    assert told.events[0].effects == ["complete: fires at 10:30:00 if no order comes before"]
    assert told.events[-1].effects == ["cancels the wait that would have ended at 11:10:00 (unless)"]


@pytest.mark.parametrize(
    ("trigger", "told", "verdict"),
    [
        (ABANDONED, [(0, "cart"), (5, "order")], "no match; closest: order at 2026-01-01 10:05:00 cancelled the wait"),
        (
            ABANDONED,
            [(0, "cart")],
            "no match yet: waiting until 2026-01-01 10:30:00; use --until to run the clock to that time",
        ),
        (ABANDONED, [(0, "ping")], "no match: this campaign uses none of these events"),
        (
            WINS,
            [(0, "game", WIN), (5, "game", WIN)],
            "no match; closest: 2 of 3 game (outcome = win) at 2026-01-01 10:05:00; the rest never came",
        ),
        (
            WINS,
            [(0, "game", WIN), (5, "game", WIN), (11, "game", WIN), (99, "game", WIN)],
            CLOSEST,
        ),
        (
            {"sequence": [{"event": "game", "where": WIN}]},
            [(0, "game", LOSS)],
            "no match; closest: outcome is loss, expected: outcome = win",
        ),
    ],
    ids=["cancelled", "waits", "foreign", "incomplete", "too slow", "condition"],
)
def test_the_verdict_names_the_closest_thing_to_a_match(
    path: Path, trigger: dict[str, Any], told: list[Told], verdict: str
) -> None:
    """Without a match, the verdict says why."""
    assert story(path, trigger, told).verdict == verdict


def test_duplicates_and_late_events_are_marked(path: Path) -> None:
    """A repeated id counts once. An event after newer ones is late, and might not count live."""
    events = recorded(
        path,
        [
            {"timestamp": START, "event": "game", "properties": WIN, "messageId": "m1"},
            {"timestamp": START, "event": "game", "properties": WIN, "messageId": "m1"},
            {"timestamp": START + 8 * MINUTE, "event": "game", "properties": WIN, "messageId": "m2"},
            {"timestamp": START + MINUTE, "event": "game", "properties": WIN, "messageId": "m3"},
        ],
    )
    seen = explanation.gather(events, "u", in_order=True)
    told = explanation.explain([campaign(WINS)], seen, seen[-1].event.at)[0]
    assert [entry.status for entry in told.events] == ["applied", "duplicate", "applied", "applied"]
    assert "an earlier event has the message id m1" in told.events[1].effects[0]
    assert told.events[2].late_ms == 7 * MINUTE
    assert "later than max_backdate (5m)" in told.events[2].effects[0]
    assert told.matches == 1
    with pytest.raises(UnsortedEvents, match=r"events\.ndjson:4: .*--sort"):
        explanation.explain([campaign(WINS)], explanation.gather(events, "u", in_order=False), 0)


def test_an_explanation_has_the_matches_of_the_replay(path: Path) -> None:
    """For random triggers and streams, the matches are those of a replay, and every reason is specific.

    In order of time, and in order of arrival with events of any age.
    """
    rng = random.Random(SEED)
    checked = fired = explained = 0
    while checked < 500:
        trigger, stream = strategies.random_pair(rng)
        try:
            definition = campaign(trigger)
        except (ValueError, OpportuneError):
            continue  # a trigger that can never fire is invalid
        checked += 1
        is_sorted = rng.random() < 0.5
        written = [
            {"timestamp": e.at, "event": e.event, "properties": dict(e.attributes), "messageId": e.message_id}
            | ({} if is_sorted else {"receivedAt": e.received})
            for e in (sorted(stream, key=lambda each: each.at) if is_sorted else stream)
        ]
        events = recorded(path, written)
        until = (events[-1].at if events else 0) + rng.choice((0, 3000, FAR))
        replay = Replay([compile_campaign(definition)])
        expected = [*replay.run(events), *replay.finish(until)]
        told = explanation.explain([definition], explanation.gather(events, "u", in_order=False), until)[0]
        fires = [entry.fired for entry in told.events if entry.fired]
        assert sorted((f.at, f.per or "", f.reason, f.since, f.message_ids) for f in fires) == sorted(
            (f.at, f.per or "", f.reason, f.since, f.message_ids) for f in expected
        ), trigger
        assert sum(entry.status == "duplicate" for entry in told.events) == replay.duplicates
        if is_sorted:
            assert [entry.at for entry in told.events] == sorted(entry.at for entry in told.events)
        reasons = [entry.why_not for entry in told.events if entry.why_not]
        assert not [reason for reason in reasons if "does not allow it" in reason], (trigger, reasons)
        fired += len(fires)
        explained += len(reasons)
    assert fired > 200
    assert explained > 300


def test_the_table_is_readable(path: Path) -> None:
    """Irrelevant events are summed up, each day has a heading, and markup stays text."""
    trigger = {"sequence": [{"event": "[red]a", "times": 2}], "within": "2d"}
    told = story(path, trigger, [(0, "[red]a"), (1, "x"), (2, "y"), (24 * 60, "[red]a")])
    console = Console(width=100, record=True, file=path.with_suffix(".txt").open("w"))
    table.print_explanations("u", [told], console)
    text = console.export_text()
    for part in ("2 × x, y", "2026-01-01", "2026-01-02", "1 of 2 [red]a", "FIRES (match), 1d after its first event"):
        assert part in text
    assert text.rstrip().endswith("u: matched once")
    console.file.close()


@pytest.mark.parametrize(
    ("trigger", "sentence"),
    [
        (WINS, "3 × game (outcome = win) in a row, within 10m"),
        (
            {
                "sequence": [
                    {"event": ["a", "b"], "where": {"n": {"between": [1, 5]}, "none_of": [{"t": True}]}},
                    {"event": "c", "directly": True, "gap": "90s", "not_before": [{"event": "d"}]},
                    {"event": "e", "times": 2, "inner": "2m"},
                ],
                "within": "1h",
                "reset_on": [{"event": "logout"}],
                "unless": {"event": "order", "for": "30m", "anchor": "last"},
                "per": ["cart_id", "shop"],
                "after_match": "overlap",
            },
            EVERYTHING,
        ),
        (
            {"all_of": [{"event": "a"}, {"event": "b", "where": {"any_of": [{"x": 1}, {"y": {"exists": False}}]}}]}
            | {"within": "5m", "after_match": "every"},
            "a and b ((x = 1 or y is missing)), in any order, within 5m; every event that completes a match counts",
        ),
    ],
    ids=["wins", "everything", "any order"],
)
def test_a_trigger_in_words(trigger: dict[str, Any], sentence: str) -> None:
    """A trigger is described in one sentence."""
    assert words.sentence(campaign(trigger).trigger) == sentence


@pytest.mark.parametrize(
    ("milliseconds", "exact", "rough"),
    [
        (0, "0s", "0s"),
        (350, "350ms", "350ms"),
        (1500, "1s 500ms", "1.5s"),
        (59_999, "59s 999ms", "1m"),
        (600_001, "10m 1ms", "10m"),
        (3_725_000, "1h 2m 5s", "1h 2m"),
        (90_061_000, "1d 1h 1m 1s", "1d 1h"),
    ],
)
def test_durations_in_words(milliseconds: int, exact: str, rough: str) -> None:
    """Reasons show every millisecond, and charts round."""
    assert (words.duration(milliseconds), words.about(milliseconds)) == (exact, rough)


def test_impossible_times_are_shown_in_milliseconds() -> None:
    """Microseconds read as milliseconds give a year that cannot be formatted."""
    assert words.stamp(10**18) == f"{10**18} ms"
