"""`opportune why`: its answers for given snapshots, in words and as a table."""

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
    """Return a campaign as in a file."""
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
    """A snapshot of one user and one campaign. All gates are open unless a test changes that."""

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
        """Add a run to the row and return the case."""
        self.row.runs.append(RunProgress(self.campaign.trigger.key, per, of, list(reached), due, 0, 0, done))
        return self

    def told(self, **changes: Any) -> CampaignAnswer:
        """Return the answer for the campaign, with *changes* in the snapshot."""
        (told,) = self.whole(**changes).campaigns
        return told

    def whole(self, **changes: Any) -> Answer:
        """Return the answer for all campaigns, with *changes* in the snapshot."""
        return explain(self.snapshot._replace(**changes))


def test_progress_has_the_remaining_time() -> None:
    """The answer has the stage, its deadline and the events still needed."""
    told = Case().run(Reached(2, NOW - 228_000, NOW + 372_000, "within")).told()
    (stage,) = told.stages
    assert stage.text == "2 of 3 game_result (outcome = win); the first event leaves the window in 6m 12s"
    assert (stage.reached, stage.of, stage.until) == (2, 3, NOW + 372_000)
    assert (told.code, told.is_in_way) == ("progress", False)
    assert told.verdict == ("Nothing blocks it; it still needs 1 event: game_result (outcome = win), before 14:09:32.")


def test_a_stage_outside_the_window_no_longer_counts() -> None:
    """In the millisecond in which the window ends, only a lower stage is left, or nothing."""
    case = Case().run(Reached(1, NOW - MINUTE, NOW + 1), Reached(2, NOW - HOUR, NOW))
    assert [(stage.reached, stage.until) for stage in case.told().stages] == [(1, NOW + 1)]
    told = case.told(now=NOW + 1)
    assert (told.stages, told.code) == ([], "nothing")


def test_a_step_with_a_gap_has_its_deadline() -> None:
    """The answer names the step, and how soon the next event must come."""
    trigger = {"sequence": [{"event": "cart"}, {"event": "pay", "gap": "3m"}], "within": "1h"}
    told = Case(trigger).run(Reached(1, NOW, NOW + 2 * MINUTE, "gap"), of=2).told()
    assert told.stages[0].text == "step 1 of 2 (cart); the next must come within 2m"
    assert "needs 1 event: pay" in told.verdict


def test_any_order_names_what_is_missing() -> None:
    """One of three events has come. The answer names the others."""
    trigger = {"all_of": [{"event": "a"}, {"event": "b"}, {"event": "c"}], "within": "1h"}
    told = Case(trigger).run(Reached(2, NOW, NOW + HOUR, "within")).told()
    assert told.stages[0].text.startswith("1 of 3 events; the first event leaves the window in 1h")
    assert "needs 2 events: a and c" in told.verdict


def test_a_pending_absence_and_one_that_is_overdue() -> None:
    """The answer says when it fires, and what would prevent it. Once overdue, it fires within a minute."""
    case = Case(LEFT, "email").run(due=NOW + 12 * MINUTE, of=1)
    told = case.told()
    assert told.stages[0].text == "complete; fires at 14:15:20 (in 12m) if no order comes before"
    assert (told.code, told.is_in_way, told.verdict) == ("absence", False, f"C{told.stages[0].text[1:]}.")
    assert "fires within a minute" in case.told(now=NOW + 12 * MINUTE).verdict


def test_without_the_source_events_are_counted() -> None:
    """The definition may no longer be stored. Then the answer counts events but does not name them."""
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
    """The verdict is about the first closed gate."""
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
def test_the_answer_says_why_a_user_is_not_a_target(changes: dict[str, Any], generation: int, sentence: str) -> None:
    """It compares the groups now with the result of the last refresh."""
    case = Case()
    told = case.told(state=UserSnapshot(1, generation, [], (1, 1), case.row), **changes)
    assert (told.code, told.target) == ("target", False)
    assert sentence in told.verdict


def test_the_answer_says_when_progress_was_dropped() -> None:
    """The user is no longer a target. The answer has the time of the event and the generation of targets."""
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


def test_consent_must_be_exactly_true() -> None:
    """A missing attribute or "yes" is not true."""
    case = Case({"sequence": [{"event": "pay"}]}, "email")
    asked = msgspec.structs.replace(case.snapshot.ruleset, consent={"email": "marketing"})
    assert case.told(ruleset=asked).code == "nothing"
    for value in (None, "yes", 1, False):
        assert case.told(ruleset=asked, customer={**CUSTOMER, "marketing": value}).code == "consent"


def test_once_ends_the_campaign_or_the_run() -> None:
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
def test_a_cap_is_full_exactly_as_long_as_the_gate_is_closed(quota: Quota, times: list[int]) -> None:
    """The answer equals that of `gates.lua` now, just before the slot opens, and when it opens."""
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


def test_caps_have_the_time_of_the_next_slot() -> None:
    """A cap that is used up is a closed gate. One that is not says when its oldest slot frees up."""
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


def test_a_waiting_message_comes_first_in_the_answer() -> None:
    """A full cap no longer affects a message of a past match. A pause does."""
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


def test_the_error_for_an_unknown_campaign_lists_the_known_ones() -> None:
    """The answer can be limited to one live campaign."""
    case = Case()
    assert [told.campaign for told in explain(case.snapshot, "wins").campaigns] == ["wins"]
    with pytest.raises(InvalidRequest, match="known: wins") as raised:
        explain(case.snapshot, "losses")
    assert raised.value.code == "unknown_campaign"


def test_notes_report_outdated_data() -> None:
    """There are notes for a missing row, an old row, a new ruleset, and an unknown customer."""
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
    """Return a delivery as the ledger has it."""
    return Delivery("id", "demo", "anna", "wins", "popup", state, at, at, reason, **fields)


def shown(told: Answer, width: int) -> list[str]:
    """Return the lines of the answer in a terminal of *width* columns."""
    stream = StringIO()
    table.print_answer(told, Console(file=stream, width=width))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_and_is_complete(width: int) -> None:
    """No line is wider than the terminal. Each label appears once. The last line is the verdict."""
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


def test_only_five_runs_are_shown() -> None:
    """The table shows the five furthest runs and the number of the others."""
    case = Case({"sequence": [{"event": "add", "times": 3}], "within": "1h", "per": ["cart"]})
    for n in range(8):
        case.run(Reached(1 + n % 2, NOW, NOW + HOUR - n, "within"), per=f'["cart-{n}"]')
    lines = shown(case.whole(), 100)
    runs = [line.split()[0] for line in (line.replace("progress", "") for line in lines) if "cart-" in line]
    assert runs[0] == "cart-1:"
    assert len(runs) == 5
    assert any("and 3 more" in line for line in lines)
