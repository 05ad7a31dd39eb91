"""The declared settings agree with the template and docs/settings.md, and are read correctly."""

from dataclasses import fields
from typing import Any

import pytest

from shared.errors import InvalidSettings
from shared.settings import DECIDER, EVERY_FUNCTION, GATEWAY, SETTINGS, Setting, Settings
from tests.support.paths import ROOT
from tests.support.template_source import template_source

PAGE = ROOT / "docs" / "settings.md"
COMPLETE = {
    "OPPORTUNE_DECIDER_FUNCTION": "decider",
    "OPPORTUNE_ENGAGER_FUNCTION": "engager",
    "OPPORTUNE_DELIVERIES_QUEUE_URL": "http://127.0.0.1/queue",
    "OPPORTUNE_REDIS_URL": "redis://127.0.0.1",
    "OPPORTUNE_MONGODB_URL": "mongodb://127.0.0.1",
    "OPPORTUNE_DOORBELLS_QUEUE_URL": "http://127.0.0.1/doorbells",
    "OPPORTUNE_DOORBELLS_QUEUE_ARN": "arn:aws:sqs:eu-central-1:123456789012:doorbells",
    "OPPORTUNE_SCHEDULE_GROUP": "opportune",
    "OPPORTUNE_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/schedules",
    "OPPORTUNE_SCHEDULES_DEAD_ARN": "arn:aws:sqs:eu-central-1:123456789012:schedules-dead",
    "OPPORTUNE_SIGNING_SECRET": "0123456789abcdef0123456789abcdef",
    "OPPORTUNE_PREFERENCES_URL": "https://preferences.example",
}


def environment(function: str) -> dict[str, Any]:
    """Return a function's variables as the template merges them."""
    template = template_source()
    own = template["Resources"][f"{function.title()}Function"]["Properties"]["Environment"]["Variables"]
    return {**template["Globals"]["Function"]["Environment"]["Variables"], **own}


def functions_table() -> list[str]:
    """Return the page's lines about the functions, without the command line's."""
    about_functions, _, _ = PAGE.read_text(encoding="utf-8").partition("\n## The command line")
    return about_functions.splitlines()


@pytest.mark.parametrize("function", EVERY_FUNCTION)
def test_the_template_gives_each_function_its_settings_and_no_other(function: str) -> None:
    """A deployed function's environment has exactly the settings that it uses."""
    declared = {setting.name for setting in SETTINGS if function in setting.used_by and not setting.local}
    assert {name for name in environment(function) if name.startswith("OPPORTUNE_")} == declared


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_page_lists_each_setting(setting: Setting) -> None:
    """One row of the table has its name, the functions that use it and its default."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in functions_table()
        if line.startswith(f"| `{setting.name}` ")
    ]
    assert len(rows) == 1, f"{PAGE.name} has {len(rows)} rows on {setting.name}"
    _, used_by, default, meaning = rows[0]
    assert used_by == ", ".join(function.title() for function in setting.used_by)
    shown = "" if setting.default in (None, "") or setting.local else f"`{str(setting.default).lower()}`"
    assert default == shown
    assert meaning


def test_the_page_lists_no_setting_that_is_gone() -> None:
    """Every row of the table is about an existing setting."""
    listed = {line.split("`")[1] for line in functions_table() if line.startswith("| `OPPORTUNE_")}
    assert listed == {setting.name for setting in SETTINGS}


def test_each_setting_has_its_attribute() -> None:
    """The declarations and the class have the same names and defaults."""
    defaults = {field.name: field.default for field in fields(Settings) if field.name != "function"}
    assert defaults.keys() == {setting.attribute for setting in SETTINGS}
    for setting in SETTINGS:
        if setting.default and "MONGODB" not in setting.name:
            assert defaults[setting.attribute] == setting.default


@pytest.mark.parametrize("function", EVERY_FUNCTION)
def test_a_complete_environment_is_read(function: str) -> None:
    """Each function reads the settings that it uses."""
    settings = Settings.from_env(COMPLETE, function)
    for setting in SETTINGS:
        if function in setting.used_by and setting.name in COMPLETE:
            assert getattr(settings, setting.attribute) == COMPLETE[setting.name]


def test_values_are_parsed() -> None:
    """Numbers and booleans are parsed."""
    settings = Settings.from_env(
        {**COMPLETE, "OPPORTUNE_POLL_SECONDS": "3", "OPPORTUNE_REDIS_CLUSTER": "True"}, DECIDER
    )
    assert (settings.poll_seconds, settings.redis_cluster) == (3, True)


def test_one_error_names_everything_that_is_wrong() -> None:
    """One error names all missing and malformed variables."""
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env({"OPPORTUNE_POLL_SECONDS": "0", "OPPORTUNE_GATEWAY_TIMEOUT_MS": "soon"}, GATEWAY)
    for name in ("OPPORTUNE_DECIDER_FUNCTION", "OPPORTUNE_POLL_SECONDS", "OPPORTUNE_GATEWAY_TIMEOUT_MS"):
        assert name in caught.value.message
    assert "OPPORTUNE_MONGODB_URL" not in caught.value.message
