"""`opportune why`: its answer to given snapshots, in words and as a table."""

from datetime import UTC, datetime
from io import StringIO
from typing import Any

import msgspec
import pytest
from lupa.lua51 import LuaRuntime
from rich.console import Console

from decider import scripts
from decider.user_admin import LostProgress, OpenActivation, Reached, RunProgress, UserRow, UserSnapshot
from definitions.compiler.ruleset import compile_campaign
from definitions.model.campaign import Campaign as CampaignFile
from opportune.operations.deliveries import Delivery
from opportune.operations.why import stages, table
from opportune.operations.why.answer import explain
from opportune.operations.why.model import Answer, CampaignAnswer
from opportune.operations.why.snapshot import Snapshot
from shared.errors import InvalidRequest
from shared.ruleset import Campaign, Limits, QuietHours, Quota, Ruleset, Schedule
from tests.support.builders import THREE_WINS

NOW = round(datetime(2026, 11, 24, 14, 3, 20, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
LEFT = {"sequence": [{"event": "add"}], "unless": {"event": "order", "for": "30m"}}
MAIL = {"subject": "Hi", "text": "there"}
POPUP = {"layout": "modal", "title": "Hi", "body": "there"}
CUSTOMER = {"email": "anna@x.example", "timezone": "Europe/Vienna", "marketing": True}


def written(trigger: dict[str, Any], channel: str = "popup") -> CampaignFile:
    """Return a campaign as it is written."""
    content = POPUP if channel == "popup" else MAIL
    return CampaignFile.model_validate(
        {
            "id": "wins",
            "name": "Three wins in a row",
            "targets": ["vip"],
            "trigger": trigger,
            "channel": channel,
            "content": content,
        }
    )


class Case:
    """Facts of one user and one campaign; everything is open unless a test says otherwise."""

    def __init__(self, trigger: dict[str, Any] = THREE_WINS, channel: str = "popup", **fields: Any) -> None:
        self.file = written(trigger, channel)
        self.campaign: Campaign = msgspec.structs.replace(compile_campaign(self.file), **fields)
        self.row = UserRow("1:1:,", NOW, 1, DAY, [], [], [])
        self.snapshot = Snapshot(
            site="demo",
            user="anna",
            now=NOW,
            ruleset=Ruleset(site="demo", version=1, keys=[], campaigns=[self.campaign]),
            live=1,
            state=UserSnapshot(1, 1, ["wins"], (1, 1), self.row),
            customer=dict(CUSTOMER),
            files={"wins": self.file},
            groups={"vip": True},
            paused=[],
            opted_out=[],
            decisions=[],
        )

    def run(self, *reached: Reached, due: int = 0, per: str = "", done: bool = False, of: int = 3) -> "Case":
        """Add a run."""
        self.row.runs.append(RunProgress(self.campaign.trigger.key, per, of, list(reached), due, 0, 0, done))
        return self

    def told(self, **changes: Any) -> CampaignAnswer:
        """Return the answer, with *changes* in the snapshot."""
        (told,) = self.whole(**changes).campaigns
        return told

    def whole(self, **changes: Any) -> Answer:
        """Return the whole answer."""
        return explain(self.snapshot._replace(**changes))


def test_progress_and_the_time_that_is_left() -> None:
    """How far, until when, what is needed."""
    told = Case().run(Reached(2, NOW - 228_000, NOW + 372_000, "within")).told()
    (stage,) = told.stages
    assert stage.text == "2 of 3 game_result (outcome = win); the first event leaves the window in 6m 12s"
    assert (stage.reached, stage.of, stage.until) == (2, 3, NOW + 372_000)
    assert (told.code, told.is_in_way) == ("progress", False)
    assert told.verdict == ("Nothing blocks it; it still needs 1 event: game_result (outcome = win), before 14:09:32.")


def test_what_has_left_the_window_counts_no_more() -> None:
    """At the millisecond it ends, an older and lower stage is what is left, or nothing."""
    case = Case().run(Reached(1, NOW - MINUTE, NOW + 1), Reached(2, NOW - HOUR, NOW))
    assert [(stage.reached, stage.until) for stage in case.told().stages] == [(1, NOW + 1)]
    told = case.told(now=NOW + 1)
    assert (told.stages, told.code) == ([], "nothing")


def test_a_step_with_a_gap_is_told_as_such() -> None:
    """The step is named, and how soon the next has to come."""
    trigger = {"sequence": [{"event": "cart"}, {"event": "pay", "gap": "3m"}], "within": "1h"}
    told = Case(trigger).run(Reached(1, NOW, NOW + 2 * MINUTE, "gap"), of=2).told()
    assert told.stages[0].text == "step 1 of 2 (cart); the next must come within 2m"
    assert "needs 1 event: pay" in told.verdict


def test_any_order_names_what_is_missing() -> None:
    """Of three events one is there: the others are named."""
    trigger = {"all_of": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "1h"}
    told = Case(trigger).run(Reached(2, NOW, NOW + HOUR, "within")).told()
    assert told.stages[0].text.startswith("1 of 3 events; the first event leaves the window in 1h")
    assert "needs 2 events: a and c" in told.verdict


def test_a_pending_absence_and_one_that_is_overdue() -> None:
    """When it fires, and unless what; after that, that somebody sees to it."""
    case = Case(LEFT, "email").run(due=NOW + 12 * MINUTE, of=1)
    told = case.told()
    assert told.stages[0].text == "complete; fires at 14:15:20 (in 12m) if no order comes before"
    assert (told.code, told.is_in_way, told.verdict) == ("absence", False, f"C{told.stages[0].text[1:]}.")
    assert "fires within a minute" in case.told(now=NOW + 12 * MINUTE).verdict


def test_without_the_source_there_are_numbers() -> None:
    """What was written may be gone: then events are counted, without their names."""
    told = Case().run(Reached(2, NOW, NOW + HOUR, "within")).told(files={})
    assert told.trigger == ""
    assert told.stages[0].text.startswith("2 of 3 events; the first event leaves the window")
    assert "it still needs 1 event, before" in told.verdict


@pytest.mark.parametrize(
    ("fields", "changes", "code", "sentence"),
    [
        ({}, {"paused": ["*"]}, "paused", "all of demo is paused; lift it with `opportune resume demo`"),
        ({}, {"paused": ["channel:email"]}, "paused", "`opportune resume demo --channel email`"),
        ({}, {"paused": ["campaign:wins"]}, "paused", "`opportune resume demo --campaign wins`"),
        ({}, {"paused": ["channel:sms", "campaign:other"]}, "nothing", "nothing blocks it"),
        ({"schedule": Schedule("UTC", start=60, stop=120)}, {}, "schedule", "the campaign's schedule is closed now"),
        ({"schedule": Schedule("UTC", start=60, stop=900)}, {}, "nothing", "nothing blocks it"),
        ({"schedule": Schedule("user", start=903, stop=905)}, {}, "nothing", "nothing blocks it"),
        ({"schedule": Schedule("user", start=843, stop=845)}, {}, "schedule", "(Europe/Vienna)"),
        ({"schedule": Schedule("user")}, {"customer": {"email": "x"}}, "schedule", "which is unknown"),
        ({"holdout": 10_000}, {}, "holdout", "holdout (100%)"),
        ({}, {"customer": None}, "no_customer", "this user has not been imported"),
        ({}, {"customer": {}}, "no_address", "no attribute email"),
        ({}, {"opted_out": ["email"]}, "opt_out", "unsubscribed from email"),
        ({}, {"opted_out": ["sms"]}, "nothing", "nothing blocks it"),
        (
            {"quiet_hours": QuietHours(14 * 60, 16 * 60, "UTC")},
            {},
            "quiet_hours",
            "until 16:00:00 UTC (in 1h 57m): a match is held",
        ),
        ({"quiet_hours": QuietHours(14 * 60, 16 * 60, "UTC", drop=True)}, {}, "quiet_hours", "is suppressed"),
        (
            {"quiet_hours": QuietHours(15 * 60, 16 * 60, "user")},
            {},
            "quiet_hours",
            "quiet hours in Europe/Vienna until",
        ),
        ({"quiet_hours": QuietHours(14 * 60, 16 * 60, "user")}, {"customer": {"email": "x"}}, "quiet_hours", "is held"),
        (
            {"quiet_hours": QuietHours(60, 120, "user", fallback="UTC")},
            {"customer": {"email": "x", "timezone": "no/where"}},
            "nothing",
            "nothing blocks it",
        ),
    ],
)
def test_each_gate_has_its_sentence(fields: dict[str, Any], changes: dict[str, Any], code: str, sentence: str) -> None:
    """The first gate that is closed is what stands in the way."""
    told = Case({"sequence": [{"event": "pay"}]}, "email", **fields).told(**changes)
    assert (told.code, told.is_in_way) == (code, code != "nothing")
    assert sentence.lower() in told.verdict.lower()


@pytest.mark.parametrize(
    ("changes", "generation", "sentence"),
    [
        ({"groups": {"vip": False}}, 2, "The user is not a target: not in vip"),
        (
            {"groups": {"vip": True}},
            2,
            "The user joined vip after targets generation 2",
        ),
        ({"groups": {"vip": True}}, 0, "The site has no targets yet"),
        ({"groups": {"vip": False}, "customer": None}, 2, "this user has not been imported as a customer"),
        ({"user": "anon:1", "customer": None}, 2, "a visitor who has not logged in belongs to no group"),
    ],
)
def test_who_is_no_target_is_told_why(changes: dict[str, Any], generation: int, sentence: str) -> None:
    """By what the groups say now, beside what the last refresh has written."""
    case = Case()
    told = case.told(state=UserSnapshot(1, generation, [], (1, 1), case.row), **changes)
    assert (told.code, told.target) == ("target", False)
    assert sentence in told.verdict


def test_who_has_lost_what_he_had_done_is_told_when() -> None:
    """He is no target any more: the time of the event that found it, and the generation of the targets."""
    case = Case()
    case.row.lost = [LostProgress(case.campaign.trigger.key, NOW - HOUR, 2)]
    told = case.told(state=UserSnapshot(1, 2, [], (1, 2), case.row), groups={"vip": False})
    assert (
        "dropped at 13:03:20, at the first event after targets generation 2 no longer contained the user"
        in told.verdict
    )
    other = [LostProgress("another", NOW - HOUR, 2)]
    case.row.lost = other
    assert "dropped" not in case.told(state=UserSnapshot(1, 2, [], (1, 2), case.row), groups={"vip": False}).verdict


def test_consent_must_be_true_and_nothing_else() -> None:
    """Not there, or "yes", is not true."""
    case = Case({"sequence": [{"event": "pay"}]}, "email")
    asked = msgspec.structs.replace(case.snapshot.ruleset, consent={"email": "marketing"})
    assert case.told(ruleset=asked).code == "nothing"
    for value in (None, "yes", 1, False):
        assert case.told(ruleset=asked, customer={**CUSTOMER, "marketing": value}).code == "consent"


def test_once_is_for_ever_and_a_run_of_its_own_is_not() -> None:
    """`after_match: once` ends the campaign for the user; with `per`, only for that run."""
    once = {"sequence": [{"event": "pay"}], "after_match": "once"}
    assert Case(once).run(done=True, of=1).told().code == "once"
    assert Case({**once, "per": ["cart"]}).run(done=True, per='["c1"]', of=1).told().code == "nothing"


LIMITS = [
    (Quota(3, DAY), [NOW - DAY, NOW - HOUR, NOW - MINUTE]),
    (Quota(3, DAY), [NOW - DAY + 1, NOW - HOUR, NOW - MINUTE]),
    (Quota(1, HOUR), [NOW - HOUR, NOW - 2]),
    (Quota(2, HOUR), []),
    (Quota(2, HOUR), [NOW - 3, NOW - 2, NOW - 1]),
]


@pytest.mark.parametrize(("quota", "times"), LIMITS)
def test_a_cap_is_full_where_the_gate_says_so_and_until_then(quota: Quota, times: list[int]) -> None:
    """`gates.lua` itself is asked: now, at the last millisecond before the slot opens, and then."""
    lua = LuaRuntime()
    gates = lua.execute(scripts.module("gates"))
    rules = lua.table_from([["cap:popup", quota.max, [[quota.max, quota.per, "cap"]]]], recursive=True)
    counted = lua.table_from({"cap:popup": times}, recursive=True)
    case = Case()
    (used,) = stages.limits(case.campaign, {"popup": quota}, {"cap:popup": times}, NOW)
    assert used.is_full == (gates.stops(rules, counted, NOW) == "cap")
    if used.is_full:
        assert used.frees is not None
        assert gates.stops(rules, counted, used.frees - 1) == "cap"
        assert gates.stops(rules, counted, used.frees) is None


def test_the_caps_are_told_with_the_next_slot() -> None:
    """Used up: what stands in the way. Not used up: when the oldest one leaves."""
    case = Case(limits=Limits(again_after=HOUR))
    capped = msgspec.structs.replace(case.snapshot.ruleset, caps={"popup": Quota(3, DAY), "email": Quota(1, DAY)})
    case.row.counted = [("cap:popup", [NOW - DAY + HOUR, NOW - 2 * HOUR]), ("=wins", [NOW - 2 * HOUR])]
    told = case.told(ruleset=capped)
    assert [(each.name, each.used, each.most, each.frees) for each in told.limits] == [
        ("campaign", 0, 1, None),
        ("popup", 2, 3, NOW + HOUR),
    ]
    assert told.gates == []
    case.row.counted = [("cap:popup", [NOW - 3, NOW - 2, NOW - 1]), ("=wins", [NOW - MINUTE])]
    told = case.told(ruleset=capped)
    assert told.gates == ["rearm", "cap"]
    assert "The campaign's own limit is used up (1 of 1 in 1h); the next slot opens at 15:02:20" in told.verdict


def test_what_waits_is_told_first_and_what_stops_it() -> None:
    """A full cap is no matter of what has matched; a pause is."""
    case = Case({"sequence": [{"event": "pay"}]}, "email", delay=HOUR, limits=Limits(again_after=DAY))
    case.row.open = [
        OpenActivation("wins", "", NOW + HOUR, 0),
        OpenActivation("wins", "", 0, NOW + DAY),
        OpenActivation("other", "", NOW + 1, 0),
    ]
    case.row.counted = [("=wins", [NOW - 1])]
    told = case.told()
    assert [each.due for each in told.waiting] == [NOW + HOUR]
    assert (told.code, told.verdict) == (
        "waiting",
        "The trigger has matched; the message will be sent at 15:03:20 (in 1h).",
    )
    told = case.told(paused=["channel:email"])
    assert (told.code, told.is_in_way) == ("paused", True)
    assert "; but the channel email is paused" in told.verdict


def test_an_unknown_campaign_is_named_with_those_there_are() -> None:
    """One campaign may be asked for, if it is live."""
    case = Case()
    assert [told.campaign for told in explain(case.snapshot, "wins").campaigns] == ["wins"]
    with pytest.raises(InvalidRequest, match="known: wins") as raised:
        explain(case.snapshot, "losses")
    assert raised.value.code == "unknown_campaign"


def test_the_notes_say_what_is_not_up_to_date() -> None:
    """No row, an old row, a ruleset that has just been published, an unknown customer."""
    case = Case()
    assert case.whole().notes == []
    (note,) = case.whole(state=UserSnapshot(1, 1, ["wins"])).notes
    assert "has no row of this user" in note
    (note,) = case.whole(state=UserSnapshot(2, 3, ["wins"], (1, 2), case.row), live=2).notes
    assert "ruleset 1 and targets generation 2" in note
    (note,) = case.whole(live=2).notes
    assert "ruleset 2 is published" in note
    (note,) = case.whole(customer=None).notes
    assert "as a customer" in note


def decision(state: str, at: int, reason: str | None = None, **fields: Any) -> Delivery:
    """Return a row of the ledger."""
    return Delivery("id", "demo", "anna", "wins", "popup", state, at, at, reason, **fields)


def shown(told: Answer, width: int) -> list[str]:
    """Return the lines that a terminal of *width* columns shows."""
    stream = StringIO()
    table.print_answer(told, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_says_it_all(width: int) -> None:
    """No line is wider than the terminal; labels stand once; the last line says what stands in the way."""
    case = Case(limits=Limits(again_after=DAY), name="A very long name " * 3)
    case.run(Reached(2, NOW, NOW + 372_000, "within"))
    case.row.counted = [("cap:popup", [NOW - 2, NOW - 1])]
    capped = msgspec.structs.replace(case.snapshot.ruleset, caps={"popup": Quota(2, DAY)})
    decisions = [decision("suppressed", NOW - MINUTE, "cap"), decision("unknown", NOW - DAY, "interrupted", age=DAY)]
    told = case.whole(ruleset=capped, decisions=decisions, user="user-" + "x" * 60)
    lines = shown(told, width)
    assert max(len(line) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    for part in (
        "targets of generation 1, at 2026-11-24 14:03:20 UTC",
        "target yes: vip",
        "progress 2 of 3 game_result (outcome = win); the first event leaves the window in 6m 12s",
        "popup: 2 of 2 in 1d, the next slot opens at 2026-11-25 14:03:20 (in 1d)",
        "decisions 14:02:20 suppressed cap",
        "2026-11-23 14:03:20 unknown interrupted, 1d old",
        "✗ The cap of popup is used up (2 of 2 in 1d)",
    ):
        assert part in text
    assert sum(line.strip().startswith("decisions") for line in lines) == 1


def test_many_runs_are_cut_short() -> None:
    """Five are shown, the furthest first, and the number of the others."""
    case = Case({"sequence": [{"event": "add", "times": 3}], "within": "1h", "per": ["cart"]})
    for n in range(8):
        case.run(Reached(1 + n % 2, NOW, NOW + HOUR - n, "within"), per=f'["cart-{n}"]')
    lines = shown(case.whole(), 100)
    runs = [line.split()[0] for line in (line.replace("progress", "") for line in lines) if "cart-" in line]
    assert runs[0] == "cart-1:"
    assert len(runs) == 5
    assert any("and 3 more" in line for line in lines)
