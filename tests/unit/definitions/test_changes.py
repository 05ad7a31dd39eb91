"""The differences that a publish would make, field by field, and the progress that they cost."""

from typing import Any

import msgspec
import pytest

from definitions.compiler.ruleset import Bundle, compile_definitions
from definitions.publishing.changes import COMPILED, Change, Field, changes
from shared.contracts import write_key
from tests.support.definitions import define

STEP = {"event": "a", "times": 2}
CAMPAIGN: dict[str, Any] = {
    "id": "c",
    "name": "C",
    "targets": ["vip"],
    "trigger": {"sequence": [STEP], "within": "10m"},
    "channel": "popup",
    "content": {"title": "Hello"},
}
WRITTEN: dict[str, Any] = {
    "site": {"id": "s", "name": "S", "keys": [{"kind": "public", "key": "wk_public"}]},
    "events": [{"name": "a"}],
    "groups": [{"id": "vip", "rule": {"tier": "vip"}}],
    "campaigns": [CAMPAIGN],
}
KEYS = [write_key("wk_public")]


def version(**parts: Any) -> Bundle:
    """Return compiled definitions that differ from `WRITTEN` in *parts*."""
    return compile_definitions(define(WRITTEN | parts), KEYS)


def campaign(**fields: Any) -> Bundle:
    """Return compiled definitions whose campaign differs in *fields*."""
    return version(campaigns=[CAMPAIGN | fields])


def test_nothing_changes_nothing() -> None:
    """The number of a version is not a difference."""
    assert changes(version(), version()) == ()


def test_the_first_version_is_all_new() -> None:
    """Everything is added, and no user has progress to lose."""
    assert changes(None, version()) == (
        Change("site", "s", "added"),
        Change("event", "a", "added"),
        Change("group", "vip", "added"),
        Change("campaign", "c", "added"),
    )


def test_the_smallest_parts_that_differ_are_named() -> None:
    """With their old and new values. A change of content costs no progress."""
    other = campaign(content={"title": "Hi"}, holdout="10%")
    assert changes(version(), other) == (
        Change("campaign", "c", "changed", (Field("content.title", "Hello", "Hi"), Field("holdout", None, "10%"))),
    )
    site = {**WRITTEN["site"], "timezone": "Europe/Vienna"}
    assert changes(version(), version(site=site)) == (
        Change("site", "s", "changed", (Field("timezone", "UTC", "Europe/Vienna"),)),
    )


def test_another_trigger_costs_the_progress_under_the_old_one() -> None:
    """Durations and conditions are part of the pattern. The change has the key of the live trigger."""
    live = version()
    (trigger,) = (each.trigger.key for each in live.ruleset.campaigns)
    longer = campaign(trigger={"sequence": [STEP], "within": "20m"})
    assert changes(live, longer) == (
        Change("campaign", "c", "changed", (Field("trigger.within", "10m", "20m"),), trigger),
    )
    steps = campaign(trigger={"sequence": [STEP, {"event": "a"}], "within": "10m"})
    ((field,),) = (each.fields for each in changes(live, steps))
    assert (field.field, len(field.now)) == ("trigger.sequence", 2)


def test_a_campaign_that_is_gone_takes_its_progress_with_it() -> None:
    """A campaign with a new id is a new campaign, and its users start over."""
    live = version()
    trigger = live.ruleset.campaigns[0].trigger.key
    assert changes(live, version(campaigns=[])) == (Change("campaign", "c", "removed", (), trigger),)
    assert [(each.id, each.what, each.dropped) for each in changes(live, campaign(id="d"))] == [
        ("c", "removed", trigger),
        ("d", "added", None),
    ]


def test_a_list_with_other_users_is_another_one() -> None:
    """The order of a list and repeated users do not matter."""
    group = {"id": "few", "list": ["u1", "u2"]}
    live = version(groups=[*WRITTEN["groups"], group])
    same = version(groups=[*WRITTEN["groups"], group | {"list": ["u2", "u1", "u2"]}])
    other = version(groups=[*WRITTEN["groups"], group | {"list": ["u3"]}])
    assert changes(live, same) == ()
    assert [(each.kind, each.id, each.fields[0].field) for each in changes(live, other)] == [("group", "few", "list")]


def test_a_secret_that_only_the_environment_knows() -> None:
    """It is compared by its hash and never shown."""
    new = compile_definitions(define(WRITTEN), [write_key("wk_other")])
    ((change,),) = (changes(version(), new),)
    assert (change.kind, change.fields[0].field) == ("site", "keys")
    assert "wk_other" not in repr(change)


@pytest.mark.parametrize(("was", "now"), [(1, True), (True, 1), (0, False)])
def test_a_number_is_no_truth(was: Any, now: Any) -> None:
    """They are equal in Python but not in a condition, so the progress is dropped."""
    group = [version(groups=[{"id": "vip", "rule": {"vip": value}}]) for value in (was, now)]
    assert changes(*group) == (Change("group", "vip", "changed", (Field("rule.vip", was, now),)),)
    assert not group[1].is_same(group[0])
    live, new = (
        campaign(trigger={"sequence": [STEP | {"where": {"vip": value}}], "within": "10m"}) for value in (was, now)
    )
    (found,) = changes(live, new)
    assert found.fields == (Field("trigger.sequence[0].where.vip", was, now),)
    assert found.dropped == live.ruleset.campaigns[0].trigger.key


def test_what_another_release_compiled_differently_is_told() -> None:
    """The definitions did not change, but a publish makes a new version, and the changes say what it costs."""
    new = version()
    (compiled,) = new.ruleset.campaigns
    trigger = msgspec.structs.replace(compiled.trigger, key="anothers")
    older = msgspec.structs.replace(compiled, trigger=trigger)
    live = new._replace(ruleset=msgspec.structs.replace(new.ruleset, campaigns=[older]))
    assert changes(live, new) == (Change("campaign", "c", "changed", (COMPILED,), "anothers"),)
    renamed = new._replace(ruleset=msgspec.structs.replace(new.ruleset, name="as it was called"))
    assert changes(renamed, new) == (Change("site", "s", "changed", (COMPILED,)),)
