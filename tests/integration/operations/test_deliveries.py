"""Listing the ledger, and pausing and resuming, on a real MongoDB."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from rich.console import Console

from opportune.operations import deliveries, pauses
from opportune.operations.deliveries import Query
from opportune.system import sites
from opportune.system.sites import UnknownSite
from shared.channels import CHANNELS
from shared.errors import InvalidRequest
from shared.ruleset import Ruleset
from tests.integration.decider.test_user_state import together
from tests.support.builders import WINS

NOW = round(datetime(2026, 11, 24, 12, 0, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
DAY = 24 * HOUR

Db = Database[dict[str, Any]]


def write(database: Db, name: str, ago: int, state: str = "sent", **fields: Any) -> None:
    """Write a row of the ledger with a match *ago* ms before now."""
    at = datetime.fromtimestamp((NOW - ago) / 1000, UTC)
    row = {"site": "demo", "user": "anna", "campaign": "wins", "channel": "popup", "state": state}
    database.activations.insert_one({"_id": name, **row, "at": at, "created": at, "updated": at, **fields})


@pytest.fixture(name="ledger")
def _ledger(mongodb: Db) -> Db:
    write(mongodb, "new", 1)
    write(mongodb, "mail", HOUR, channel="email", campaign="cart", user="bob", attempts=2, provider_id="ses-1")
    write(mongodb, "capped", 2 * HOUR, "suppressed", reason="cap")
    write(mongodb, "lost", 3 * HOUR, "unknown", reason="interrupted")
    write(mongodb, "older", 25 * HOUR, "unknown", reason="timeout", channel="email")
    until = datetime.fromtimestamp((NOW + HOUR) / 1000, UTC)
    write(mongodb, "quiet", 4 * HOUR, "held", reason="quiet_hours", until=until)
    write(mongodb, "elsewhere", 2, site="shop")
    return mongodb


def test_the_list_has_the_outcomes_of_popups(mongodb: Db) -> None:
    """It counts popups seen, clicked and dismissed, and has the most telling outcome of each."""
    at = datetime.fromtimestamp(NOW / 1000, UTC)
    reports: list[dict[str, Any]] = [
        {},
        {"seen": at},
        {"seen": at, "clicked": at},
        {"seen": at, "dismissed": at},
        {"failed": at},
    ]
    for number, reported in enumerate(reports):
        write(mongodb, str(number), number, **reported)
    write(mongodb, "mail", 9, channel="email")
    listed = deliveries.list_deliveries(mongodb, Query("demo", NOW - DAY), NOW)
    assert listed.popups == {"sent": 5, "seen": 3, "clicked": 1, "dismissed": 1}
    said = [deliveries.outcome(each, NOW).plain for each in listed.deliveries]
    words = ["not seen", "seen", "clicked", "dismissed", "not shown"]
    assert said == [*[f"sent, {word}" for word in words], "sent"]
    assert listed.deliveries[2].clicked == NOW


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["new", "mail", "capped", "lost", "quiet"]),
        ({"since": NOW - 2 * DAY}, ["new", "mail", "capped", "lost", "quiet", "older"]),
        ({"limit": 2}, ["new", "mail"]),
        ({"user": "bob"}, ["mail"]),
        ({"campaign": "cart"}, ["mail"]),
        ({"channel": "email", "since": 0}, ["mail", "older"]),
        ({"states": ["unknown", "held"]}, ["lost", "quiet"]),
        ({"site": "shop"}, ["elsewhere"]),
        ({"since": NOW - 2 * HOUR}, ["new", "mail", "capped"]),
        ({"user": "nobody"}, []),
        ({"reasons": ["cap", "interrupted"]}, ["capped", "lost"]),
        ({"reasons": ["cap", "interrupted"], "states": ["unknown"]}, ["lost"]),
    ],
)
def test_filters_and_order(ledger: Db, filters: dict[str, Any], expected: list[str]) -> None:
    """Only the matching deliveries of one site are listed, the newest first."""
    query = Query(**{"site": "demo", "since": NOW - DAY, **filters})
    assert [each.id for each in deliveries.list_deliveries(ledger, query, NOW).deliveries] == expected


def test_counts_include_all_and_unknown_ones_have_an_age(ledger: Db) -> None:
    """The limit and the filter by state do not change the counts."""
    query = Query("demo", NOW - 2 * DAY, states=["unknown"], limit=1)
    listed = deliveries.list_deliveries(ledger, query, NOW)
    assert listed.counts == {"sent": 2, "held": 1, "unknown": 2, "suppressed": 1}
    assert (listed.reasons, listed.oldest_unknown) == ({"cap": 1}, 25 * HOUR)
    (lost,) = listed.deliveries
    assert (lost.age, lost.reason, lost.at) == (3 * HOUR, "interrupted", NOW - 3 * HOUR)


@pytest.mark.parametrize(
    "filters", [{}, {"states": ["unknown"]}, {"user": "anna"}, {"channel": "email"}, {"reasons": ["cap"]}]
)
def test_every_query_reads_an_index_in_order(ledger: Db, filters: dict[str, Any]) -> None:
    """There is no collection scan and no sort in memory."""
    query = Query(**{"site": "demo", "since": NOW - DAY, **filters})
    deliveries.list_deliveries(ledger, query, NOW)
    states = {"state": {"$in": query.states}} if query.states else {}
    plan = ledger.activations.find(deliveries.conditions(query) | states, sort=[("at", -1)], limit=20).explain()
    winning = repr(plan["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in winning
    assert "COLLSCAN" not in winning
    assert "'SORT'" not in winning


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(ledger: Db, width: int) -> None:
    """In any width, it has counts, ages, reasons and the number of deliveries left out."""
    write(ledger, "long", 5, user="user-" + "x" * 90, campaign="a-campaign-" + "y" * 50)
    listed = deliveries.list_deliveries(ledger, Query("demo", NOW - 2 * DAY, limit=6), NOW)
    stream = StringIO()
    deliveries.print_deliveries(listed, NOW, Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    text = " ".join(stream.getvalue().split())
    for part in ("unknown 2 (the oldest 1d 1h)", "suppressed 1 (cap 1)", "interrupted", "6 of 7 shown"):
        assert part in text


def test_the_error_for_an_unknown_state_lists_the_known_ones(ledger: Db) -> None:
    """It has its own error code."""
    with pytest.raises(InvalidRequest, match="known: sending, sent") as raised:
        deliveries.list_deliveries(ledger, Query("demo", 0, states=["snet"]), NOW)
    assert raised.value.code == "unknown_state"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW - DAY),
        ("90s", NOW - 90_000),
        ("2026-11-24T11:00:00", NOW - HOUR),
        ("2026-11-24T12:00:00+01:00", NOW - HOUR),
        ("2026-11-24", NOW - 12 * HOUR),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, expected: int) -> None:
    """Times without a zone are in UTC, like all printed times."""
    assert deliveries.parse_since(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "0h", "99999d", "1.5h", "-3h", "2026-13-01"])
def test_an_invalid_since_is_reported(text: str) -> None:
    """All mistakes have the same error code."""
    with pytest.raises(InvalidRequest, match="--since") as raised:
        deliveries.parse_since(text, NOW)
    assert raised.value.code == "invalid_since"


# --- pauses ---


@pytest.fixture(name="site")
def _site(mongodb: Db) -> Db:
    ruleset = Ruleset(site="demo", version=1, keys=[], campaigns=[WINS])
    mongodb.rulesets.insert_one({"_id": "demo:1", "site": "demo", "ruleset": msgspec.to_builtins(ruleset)})
    mongodb.control.insert_one({"_id": "demo", "ruleset": 1, "generation": 3})
    return mongodb


def test_pauses_are_independent(site: Db) -> None:
    """Site, channel and campaign are paused separately. A repeat reports no change. Other fields stay."""
    assert pauses.pause(site, "demo").changed
    assert pauses.pause(site, "demo", channel="email").changed
    assert not pauses.pause(site, "demo", channel="email").changed
    switched = pauses.pause(site, "demo", campaign="three-wins")
    assert switched.paused == ["*", "channel:email", "campaign:three-wins"]
    assert pauses.resume(site, "demo") == ("demo", "*", True, ["channel:email", "campaign:three-wins"])
    assert not pauses.resume(site, "demo").changed
    assert pauses.resume(site, "demo", campaign="three-wins").paused == ["channel:email"]
    assert pauses.resume(site, "demo", channel="email").paused == pauses.paused(site, "demo") == []
    assert site.control.find_one() == {"_id": "demo", "ruleset": 1, "generation": 3, "paused": []}


def test_parallel_pauses_do_not_undo_each_other(site: Db) -> None:
    """Five channels are paused at the same time, and then resumed at the same time."""
    together(5, lambda n: pauses.pause(site, "demo", channel=CHANNELS[n]))
    assert sorted(pauses.paused(site, "demo")) == sorted(f"channel:{name}" for name in CHANNELS)
    together(5, lambda n: pauses.resume(site, "demo", channel=CHANNELS[n]))
    assert pauses.paused(site, "demo") == []


def test_an_unknown_channel_or_campaign_cannot_be_paused(site: Db) -> None:
    """A channel and a campaign cannot be given together either."""
    for options, code in [
        ({"channel": "fax"}, "unknown_channel"),
        ({"campaign": "two-wins"}, "unknown_campaign"),
        ({"channel": "email", "campaign": "three-wins"}, "one_switch"),
    ]:
        for switch in (pauses.pause, pauses.resume):
            with pytest.raises(InvalidRequest) as raised:
                switch(site, "demo", **options)
            assert raised.value.code == code
    assert pauses.paused(site, "demo") == []


def test_a_campaign_that_has_ended_can_be_resumed(site: Db) -> None:
    """Its pause must not remain only because the campaign is no longer live."""
    site.control.update_one({"_id": "demo"}, {"$set": {"paused": ["campaign:gone"]}})
    assert pauses.resume(site, "demo", campaign="gone").changed


def test_the_only_site_need_not_be_named(site: Db) -> None:
    """With several sites, one must be named. The error for an unknown site lists the published ones."""
    assert sites.resolve(site, None) == sites.resolve(site, "demo") == "demo"
    with pytest.raises(UnknownSite, match="known: demo"):
        sites.resolve(site, "dmeo")
    site.control.insert_one({"_id": "shop", "ruleset": 1})
    with pytest.raises(InvalidRequest, match="demo, shop"):
        sites.resolve(site, None)
    site.control.delete_many({})
    with pytest.raises(UnknownSite, match="no site was ever published"):
        sites.resolve(site, None)


def test_an_old_row_can_be_listed(mongodb: Db) -> None:
    """It may not have fields that were added later."""
    at = datetime.fromtimestamp(NOW / 1000, UTC) - timedelta(hours=1)
    row = {"_id": "x", "site": "demo", "user": "anna", "campaign": "a", "channel": "popup", "state": "unknown"}
    mongodb.activations.insert_one({**row, "at": at})
    (listed,) = deliveries.list_deliveries(mongodb, Query("demo", 0), NOW).deliveries
    assert (listed.updated, listed.age, listed.reason) == (NOW - HOUR, HOUR, None)
