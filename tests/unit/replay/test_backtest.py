"""`opportune replay`: its output for programs and people, and its statistics."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from opportune.cli import main
from opportune.replay.engine import Match
from opportune.replay.tally import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Bucket,
    Durations,
    Tally,
    Timeline,
    UserMatches,
    merge_users,
    width_name,
)

START = 1_767_261_600_000  # 2026-01-01 10:00
VIEWS = """
id: three-views
name: Three <views>
targets: everyone
trigger: {sequence: [{event: view, times: 3}], within: 10m}
channel: popup
content: {layout: modal, title: Hi, body: there}
"""
ABANDONED = """
id: abandoned-cart
name: Cart left behind
targets: everyone
trigger: {sequence: [{event: cart}], unless: {event: order, for: 30m}}
channel: email
content: {subject: Hi, text: there}
"""


class Shop:
    """A folder with two campaigns and recorded events, and the command that replays them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = folder / "events.ndjson"
        self.views = folder / "three-views.yaml"
        self.carts = folder / "abandoned-cart.yaml"
        self.views.write_text(VIEWS)
        self.carts.write_text(ABANDONED)

    def record(self, *told: tuple[str, str, float]) -> None:
        """Write events, each given as user, name and minutes after the start."""
        lines = [
            {"type": "track", "userId": user, "event": event, "timestamp": START + round(minute * MINUTE_MS)}
            for user, event, minute in told
        ]
        self.events.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def replay(self, *arguments: str, width: int = 120) -> Result:
        """Run `opportune replay` with both campaigns."""
        campaigns = ["--campaign", str(self.views), "--campaign", str(self.carts)]
        command = ["replay", *campaigns, "--events", str(self.events), *arguments]
        # An exit code of 1 could also be an unexpected exception, so let exceptions through.
        return CliRunner().invoke(main.app, command, env={"COLUMNS": str(width)}, catch_exceptions=False)

    def matches(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the matches that `--json` prints."""
        done = self.replay("--json", *arguments)
        assert (done.exit_code, done.stderr) == (0, "")
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(name="shop")
def _shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.record(
        ("anna", "view", 0),
        ("anna", "cart", 1),
        ("ben", "cart", 2),
        ("anna", "view", 3),
        ("anna", "view", 4),
        ("anna", "order", 20),
        ("ben", "view", 25),
    )
    return shop


def at(fire: dict[str, Any]) -> float:
    """Return the time of a match in minutes after the start."""
    return float((fire["at"] - START) / MINUTE_MS)


def test_without_until_the_clock_stops_at_the_last_event(shop: Shop) -> None:
    """The absence after Ben's cart is still pending."""
    assert [(fire["user"], fire["campaign"], at(fire), fire["reason"]) for fire in shop.matches()] == [
        ("anna", "three-views", 4, "match")
    ]


@pytest.mark.parametrize(("until", "due"), [("2026-01-01T10:31:59Z", 0), ("2026-01-01T10:32:00Z", 1)])
def test_until_runs_the_clock_on(shop: Shop, until: str, due: int) -> None:
    """An absence fires at its deadline. The time may be given as ISO 8601 or in ms."""
    ms = START + round((31 * 60 + 59 + due) * 1000)
    for text in (until, str(ms)):
        fires = shop.matches("--until", text)
        assert [(fire["user"], at(fire), fire["reason"]) for fire in fires[1:]] == [("ben", 32, "absence")] * due
    table = shop.replay("--until", until)
    assert f"the clock ran on to {until.replace('T', ' ').rstrip('Z')}" in " ".join(table.stdout.split())


def test_absences_at_the_end_come_in_order_of_time(shop: Shop) -> None:
    """The order of users and of the file does not matter."""
    shop.record(("z", "cart", 0), ("m", "cart", 1), ("a", "cart", 2))
    assert [fire["user"] for fire in shop.matches("--until", "2026-01-02")] == ["z", "m", "a"]


def test_an_unsorted_file_is_an_error_that_suggests_sort(shop: Shop) -> None:
    """With `--sort`, events are replayed in order of time, and events of the same time in order of the file."""
    shop.record(("a", "view", 9), ("a", "view", 1), ("a", "view", 9))
    for arguments in ([], ["--json"], ["--explain", "a"]):
        done = shop.replay(*arguments)
        assert done.exit_code == 2
        assert "--sort" in done.stderr
        assert "events.ndjson:2" in done.stderr
    (fire,) = shop.matches("--sort")
    assert [name.split("@")[0] for name in fire["message_ids"]] == [f"events.ndjson:{n}" for n in (2, 1, 3)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--until", "tomorrow"],
            "--until: expected an ISO 8601 time such as 2026-01-31T12:00:00Z, or ms, got 'tomorrow'",
        ),
        (
            ["--until", "2026-01-01T10:10:00Z"],
            "events.ndjson:6: this event (2026-01-01 10:20:00) is later than --until",
        ),
        (["--html", "nowhere/report.html"], "--html: nowhere/report.html is not a file in an existing folder"),
        (["--html", "x.html", "--explain", "anna"], "choose one"),
        (["--map", "user=u"], "--map"),
        (["--campaign", "nowhere.yaml"], "nowhere.yaml"),
        (["--events", "nowhere.ndjson"], "nowhere.ndjson"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_leads_to_exit_code_2(shop: Shop, arguments: list[str], says: str) -> None:
    """The message names the option or the file."""
    done = shop.replay(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_campaigns_may_come_from_several_paths(shop: Shop) -> None:
    """The same campaign counts once. Two different campaigns with the same id are an error."""
    assert len(shop.matches("--campaign", str(shop.views))) == 1
    other = shop.folder / "other.yaml"
    other.write_text(VIEWS.replace("10m", "11m"))
    done = shop.replay("--campaign", str(other))
    assert done.exit_code == 2
    assert "another campaign has the id 'three-views'" in " ".join(done.stderr.split())


def test_the_summary_has_the_numbers_and_the_charts(shop: Shop) -> None:
    """It has matches, users and times per campaign, a row per time bucket, and the users."""
    done = shop.replay("--until", "2026-01-01T11:00:00Z")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "events.ndjson: 7 events of 2 users, 7 relevant, 0 duplicates"
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert ["abandoned-cart", "1", "1", "1.00", "30m", "30m", "30m"] in rows
    assert ["three-views", "1", "1", "1.00", "4m", "4m", "4m"] in rows
    assert [["anna", "1", "2026-01-01 10:04", "2026-01-01 10:04"], ["three-views 1", "", "", ""]] in [
        rows[n : n + 2] for n in range(len(rows))
    ]
    assert "matches per 5 minutes" in done.stdout
    assert "3 × view, within 10m" in done.stdout
    assert "Three <views>" in done.stdout
    assert "Target groups are not applied" in done.stdout


def test_a_summary_without_matches_says_what_to_do(shop: Shop) -> None:
    """It suggests `--explain`. An empty file is not an error."""
    shop.record(("a", "view", 0))
    assert "--explain USER" in shop.replay().stdout
    shop.events.write_text("")
    done = shop.replay("--html", str(shop.folder / "empty.html"))
    assert done.exit_code == 0
    assert "The file has no events." in (shop.folder / "empty.html").read_text()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_summary_fits_the_terminal(shop: Shop, width: int) -> None:
    """No line is wider than the terminal."""
    for arguments in ([], ["--explain", "anna"]):
        done = shop.replay(*arguments, width=width)
        assert max(map(len, done.stdout.splitlines())) <= width


def test_explain_prints_one_json_object(shop: Shop) -> None:
    """The object has the user, and the events and their effects per campaign."""
    done = shop.replay("--explain", "anna", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["user"], told["events"]) == ("anna", 5)
    carts, views = told["campaigns"]
    assert (carts["campaign"], carts["matches"], views["campaign"], views["matches"]) == (
        "abandoned-cart",
        0,
        "three-views",
        1,
    )
    assert carts["verdict"] == "no match; closest: order at 2026-01-01 10:20:00 cancelled the wait"
    assert views["events"][3]["fired"]["at"] == START + 4 * MINUTE_MS
    assert "FIRES (match)" in shop.replay("--explain", "anna").stdout


def test_every_output_has_the_matches_that_gates_would_stop(shop: Shop) -> None:
    """With one message an hour, gates would stop two of Anna's three matches, and none of Ben's."""
    shop.views.write_text(VIEWS.replace("times: 3", "times: 1") + "limits: {again_after: 1h}\n")
    report = shop.folder / "report.html"
    fires = shop.matches("--html", str(report))
    assert [(fire["user"], at(fire), fire.get("gate")) for fire in fires] == [
        ("anna", 0, None),
        ("anna", 3, "rearm"),
        ("anna", 4, "rearm"),
        ("ben", 25, None),
    ]
    assert "Live, gates would stop some of these: rearm 2." in report.read_text()
    shown = shop.replay(width=80).stdout
    assert "live, gates would stop 2 of 4: rearm 2" in shown
    told = json.loads(shop.replay("--explain", "anna", "--json").stdout)["campaigns"][1]
    assert [each["fired"]["gate"] for each in told["events"] if each["fired"]] == [None, "rearm", "rearm"]
    assert told["verdict"] == "matched 3 times; live, gates would stop 2: rearm 2"
    assert shop.replay("--explain", "anna").stdout.count("live, the gate rearm would stop it") == 2


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_unknown_user_leads_to_exit_code_1(shop: Shop, arguments: list[str]) -> None:
    """The message suggests similar user ids."""
    done = shop.replay("--explain", "ann", *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no event of user 'ann'; it has events of 2 users, such as 'anna'" in " ".join(done.stderr.split())


def test_json_and_a_report_go_together(shop: Shop) -> None:
    """`--json` prints the matches, and `--html` writes the report in the same run."""
    report = shop.folder / "report.html"
    assert len(shop.matches("--html", str(report))) == 1
    assert '<h2 id="campaign-2">Three &lt;views&gt;</h2>' in report.read_text()


def fire(user: str, when: int, took: int = 0) -> Match:
    """Return a match."""
    return Match(user=user, campaign="c", per=None, at=when, message_ids=[], reason="match", since=when - took)


def test_a_tally_counts_matches_and_users() -> None:
    """Users are sorted by the number of matches, then by the time of the first."""
    one, two = Tally(), Tally()
    for user, when in (("a", 5), ("b", 3), ("c", 4), ("c", 9)):
        one.add(fire(user, when))
    two.add(fire("b", 1))
    assert [user for user, _ in one.most()] == ["c", "b", "a"]
    assert (one.matches, len(one.users), one.latest) == (4, 3, 9)
    assert merge_users(iter((one, two)))[:2] == [("b", UserMatches(2, 1, 3)), ("c", UserMatches(2, 4, 9))]


@pytest.mark.parametrize(
    ("span", "width"),
    [
        (0, "minute"),
        (29 * MINUTE_MS, "minute"),
        (30 * MINUTE_MS, "5 minutes"),
        (24 * HOUR_MS - 1, "hour"),
        (48 * HOUR_MS, "2 hours"),
        (7 * DAY_MS - 1, "6 hours"),
        (25 * DAY_MS, "day"),
        (365 * DAY_MS, "2 weeks"),
        (20 * 365 * DAY_MS, "64 weeks"),
    ],
)
def test_charts_have_at_most_thirty_rows(span: int, width: str) -> None:
    """Buckets are no wider than needed, cover the whole span and contain every match."""
    first = 1_767_225_600_000
    timeline = Timeline()
    rng = random.Random(1)
    for _ in range(500):
        timeline.add(first + rng.randint(0, span))
    buckets = timeline.buckets(first, first + span, 30)
    assert len(buckets) <= 30
    assert width_name(buckets) == width
    assert sum(bucket.matches for bucket in buckets) == 500
    assert buckets[0].start <= first
    assert buckets[-1].end > first + span
    assert all(one.end == two.start for one, two in pairwise(buckets))


def test_a_timeline_stays_small() -> None:
    """Matches in 100,000 different minutes need at most 10,000 counters, and the chart has all of them."""
    timeline = Timeline()
    for minute in range(100_000):
        timeline.add(minute * MINUTE_MS)
    assert len(timeline._counts) <= 10_000
    buckets = timeline.buckets(0, 99_999 * MINUTE_MS, 30)
    assert sum(bucket.matches for bucket in buckets) == 100_000


def test_a_spread_is_exact_and_then_within_one_percent() -> None:
    """Quantiles of up to 10,000 different times are exact. With more, they are at most 1 % too small."""
    spread = Durations()
    times = list(range(1, 10_001))
    random.Random(2).shuffle(times)
    for took in times:
        spread.add(took)
    assert spread.is_exact
    assert [spread.quantile(share) for share in (0.1, 0.5, 0.9, 1.0)] == [1000, 5000, 9000, 10_000]
    for took in range(10_001, 100_001):
        spread.add(took)
    assert not spread.is_exact
    assert len(spread._counts) < 5000
    for share in (0.1, 0.5, 0.9):
        assert 0.99 * share * 100_000 <= spread.quantile(share) <= share * 100_000


def test_the_bars_of_a_spread_are_round_and_complete() -> None:
    """A single very long time goes into the last bar and does not widen the others."""
    spread = Durations()
    assert spread.buckets(10) == []
    for second in range(500):
        spread.add(second * 1000)
    buckets = spread.buckets(10)
    assert buckets[0] == Bucket(0, MINUTE_MS, 60)
    assert (len(buckets), sum(bucket.matches for bucket in buckets)) == (9, 500)
    spread.add(DAY_MS)
    again = spread.buckets(10)
    assert (len(again), again[-1].matches) == (9, 21)
