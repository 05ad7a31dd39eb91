"""Warnings about probable mistakes appear only if they are certain."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from definitions.checks.warnings import find_warnings
from definitions.model.campaign import Campaign
from definitions.model.field_errors import validate
from definitions.model.site import Site
from tests.support.definitions import examine
from tests.unit.definitions.test_loading import CAMPAIGN, C, S, folder

NOW = datetime(2026, 11, 25, tzinfo=UTC)
POPUP: dict[str, Any] = {
    "name": "C",
    "targets": "everyone",
    "trigger": {"sequence": [{"event": "a"}]},
    "channel": "popup",
    "content": {"title": "Hello"},
}
MAIL = {"channel": "email", "content": {"subject": "Hello", "text": "Hello"}}
TWICE = {"sequence": [{"event": "a", "times": 2}], "within": "1h"}
VIP = {"targets": ["vip"]}
BIG = {"sequence": [{"event": "a", "where": {"amount": 5}}]}
ONE, YES = ({"sequence": [{"event": "a", "where": {"vip": value}}]} for value in (1, True))
AT_NINE = {"schedule": {"hours": "09:00-10:00"}}


def warned(*changes: dict[str, Any], **site: Any) -> list[tuple[str, str]]:
    """Return the warnings about campaigns a, b …, which differ in *changes*."""
    keys = [{"kind": "public", "key": "wk_public"}]
    written = {"id": "s", "name": "S", "keys": keys, "sender": {"address": "a@b.example"}, **site}
    campaigns = [validate(Campaign, {"id": name, **POPUP, **each}) for name, each in zip("abc", changes, strict=False)]
    return list(find_warnings(validate(Site, written), campaigns, NOW))


LOSES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # winner a, loser b, the site
    ({}, {}, {}),
    ({"priority": 1}, {"trigger": BIG}, {}),
    ({}, VIP, {}),
    ({"targets": ["vip", "old"]}, VIP, {}),
    ({"trigger": TWICE}, {"trigger": TWICE}, {}),
    ({}, {"trigger": {"sequence": [{"event": "b"}, {"event": "a"}], "within": "1h"}}, {}),
    ({"trigger": {"sequence": [{"event": ["a", "b"]}]}}, {}, {}),
    (AT_NINE, AT_NINE, {}),
    (MAIL, MAIL, {"caps": {"email": {"max": 1, "per": "1d"}}}),
    (MAIL, {}, {"caps": {"total": {"max": 1, "per": "1d"}}}),
]
COMES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"limits": {"again_after": "1d"}}, {}, {}),
    ({"holdout": "10%"}, {}, {}),
    (AT_NINE, {}, {}),
    (VIP, {}, {}),
    (VIP, {"targets": ["old"]}, {}),
    ({"trigger": BIG}, {}, {}),
    ({"trigger": TWICE}, VIP | {"trigger": TWICE}, {}),  # a user who became a target later has other progress
    ({"trigger": {"sequence": [{"event": "a"}], "after_match": "once"}}, {"trigger": BIG}, {}),
    (MAIL, MAIL, {}),
    (MAIL, MAIL, {"caps": {"email": {"max": 2, "per": "1d"}}}),
    (MAIL, {}, {"caps": {"popup": {"max": 1, "per": "1d"}, "email": {"max": 1, "per": "1d"}}}),
    ({}, {"trigger": {"sequence": [{"event": "c"}]}}, {}),
    # a popup whose response is late leaves the place to the e-mail
    ({}, MAIL, {"caps": {"total": {"max": 1, "per": "1d"}}}),
    ({"trigger": YES}, {"trigger": ONE}, {}),
]


@pytest.mark.parametrize(("winner", "loser", "site"), LOSES)
def test_a_campaign_that_always_loses(winner: dict[str, Any], loser: dict[str, Any], site: dict[str, Any]) -> None:
    """Two campaigns match at the same events, only one can activate, and it is always the same one."""
    ((field, message),) = warned(winner, loser, **site)
    assert field == "campaigns[1].priority"
    assert message.startswith("never activates: campaign 'a' matches at the same events and ")


@pytest.mark.parametrize(("winner", "loser", "site"), COMES)
def test_a_campaign_that_may_come_through(winner: dict[str, Any], loser: dict[str, Any], site: dict[str, Any]) -> None:
    """The other campaign may be stopped or not match, so there is no warning."""
    assert warned(winner, loser, **site) == []


def test_the_higher_priority_wins_whatever_the_ids() -> None:
    """The warning ranks campaigns as the gates do."""
    ((field, message),) = warned({}, {"priority": 5})
    assert (field, "'b'" in message, "higher priority" in message) == ("campaigns[0].priority", True, True)


def test_a_campaign_that_is_over() -> None:
    """It is not over on its last day."""
    assert [field for field, _ in warned({"schedule": {"to": "2026-11-24"}})] == ["campaigns[0].schedule.to"]
    assert warned({"schedule": {"to": "2026-11-25"}}) == []
    west = {"timezone": "America/Los_Angeles"}
    assert warned({"schedule": {"to": "2026-11-24"}}, **west) == []


def test_hours_inside_quiet_hours_that_drop() -> None:
    """There is no warning if a minute is left, if messages are held, or if the zones differ."""
    quiet = {"from": "22:00", "to": "08:00", "then": "drop", "channels": ["email", "popup"]}
    night = {"schedule": {"hours": "23:00-07:30"}}
    assert [field for field, _ in warned(night, quiet_hours=quiet)] == ["campaigns[0].schedule.hours"]
    holding = {**quiet, "then": "hold", "channels": ["email"]}
    assert len(warned(night | {"quiet_hours": "drop"} | MAIL, quiet_hours=holding)) == 1
    for schedule in ({"hours": "23:00-08:01"}, {"hours": "23:00-07:30", "timezone": "Asia/Tokyo"}):
        assert warned({"schedule": schedule}, quiet_hours=quiet) == []
    assert warned(night | {"quiet_hours": "ignore"}, quiet_hours=quiet) == []
    assert warned(night | MAIL, quiet_hours=holding) == []


def test_a_warning_has_a_place_and_is_no_error(tmp_path: Path) -> None:
    """It is in the file and line of the losing campaign, and `check` still succeeds."""
    other = CAMPAIGN.replace("id: three-wins", "id: unlucky\npriority: -5")
    path = folder(tmp_path, {"campaigns/u.yaml": other})
    examined = examine(path, NOW)
    assert examined.definitions is not None
    (warning,) = examined.problems
    assert (warning.level, Path(warning.file).name, warning.line, warning.column) == ("warning", "u.yaml", 2, 1)
    assert "u.yaml:2:1: warning: priority: never activates" in str(warning)
    done = subprocess.run(
        [sys.executable, "-m", "opportune", "check", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "warning: priority" in done.stdout
    assert "ok 2 campaign(s), 1 target group(s), 1 warning(s)" in done.stdout


def test_problems_of_a_folder_are_returned_too(tmp_path: Path) -> None:
    """`examine` raises nothing; a single file has no other campaigns to lose to."""
    assert examine(folder(tmp_path, {S: "id: x\n"}), NOW).definitions is None
    single = folder(tmp_path / "sound", {}) / C
    assert examine(single, NOW).problems == ()
