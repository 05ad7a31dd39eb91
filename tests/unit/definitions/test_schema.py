"""The JSON Schemas for editors accept what the checks accept, and find most of what the checks refuse."""

import json
import random
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from definitions.loading.yaml_source import read
from definitions.model.campaign import Campaign
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.group import TargetGroup
from definitions.model.json_schema import DIALECT
from definitions.model.site import Site
from opportune.authoring import schema
from tests.support import strategies
from tests.support.command_line import program
from tests.support.paths import ROOT

CAMPAIGNS = ROOT / "campaigns"
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}
NOTES = {"$schema", "$defs", "title", "description", "default", "examples", "then"}
CAMPAIGN: dict[str, Any] = {
    "id": "three-wins",
    "name": "Three wins",
    "targets": ["vip"],
    "trigger": {"sequence": [{"event": "win", "times": 3}], "within": "10m"},
    "channel": "popup",
    "content": {"title": "Hello"},
}
EMAIL: dict[str, Any] = {"channel": "email", "content": {"subject": "Hello", "text": "Hello"}}
STEP = {"event": "a"}
HOURS = {"from": "22:00", "to": "08:00"}
VARIANTS = [{"id": name, "weight": 2, "content": CAMPAIGN["content"]} for name in "ab"]


def fits(value: Any, part: dict[str, Any], root: dict[str, Any]) -> bool:
    """Return whether *value* meets a JSON Schema; supports only the keywords that the schemas use."""
    return all(word in NOTES or _keyword(word, value, part, root) for word in part)


def _keyword(word: str, value: Any, part: dict[str, Any], root: dict[str, Any]) -> bool:  # noqa: C901, PLR0911, PLR0912
    wanted = part[word]
    match word:
        case "$ref":
            return fits(value, root["$defs"][wanted.removeprefix("#/$defs/")], root)
        case "type":
            return any(_is(value, name) for name in ([wanted] if isinstance(wanted, str) else wanted))
        case "const":
            return type(value) is type(wanted) and bool(value == wanted)
        case "enum":
            return value in wanted
        case "anyOf":
            return any(fits(value, each, root) for each in wanted)
        case "oneOf":
            return sum(fits(value, each, root) for each in wanted) == 1
        case "allOf":
            return all(fits(value, each, root) for each in wanted)
        case "not":
            return not fits(value, wanted, root)
        case "if":
            return not fits(value, wanted, root) or fits(value, part["then"], root)
        case "pattern":
            return not isinstance(value, str) or re.search(wanted, value) is not None
        case "minLength" | "maxLength":
            return not isinstance(value, str) or _bounded(word, len(value), wanted)
        case "minItems" | "maxItems":
            return not isinstance(value, list) or _bounded(word, len(value), wanted)
        case "minProperties" | "maxProperties":
            return not isinstance(value, dict) or _bounded(word, len(value), wanted)
        case "minimum" | "maximum":
            return not _is(value, "number") or _bounded(word, value, wanted)
        case "items":
            return not isinstance(value, list) or all(fits(each, wanted, root) for each in value)
        case "contains":
            return not isinstance(value, list) or any(fits(each, wanted, root) for each in value)
        case "propertyNames":
            return not isinstance(value, dict) or all(fits(each, wanted, root) for each in value)
        case "required":
            return not isinstance(value, dict) or all(name in value for name in wanted)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(value[name], each, root) for name, each in wanted.items() if name in value
            )
        case "additionalProperties":
            known = part.get("properties", {})
            others = [value[name] for name in value if name not in known] if _is(value, "object") else []
            if isinstance(wanted, bool):
                return wanted or not others
            return all(fits(each, wanted, root) for each in others)
    raise AssertionError(f"{word} is no keyword that this test knows")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _bounded(word: str, size: float, wanted: float) -> bool:
    return size >= wanted if word.startswith("min") else size <= wanted


@cache
def _file_schema(kind: schema.Kind) -> dict[str, Any]:
    return schema.file_schema(kind)


def accepts(kind: schema.Kind, value: Any) -> bool:
    """Return whether the schema of this kind of file accepts *value*."""
    whole = _file_schema(kind)
    return fits(value, whole, whole)


def every_part(part: Any) -> Iterator[dict[str, Any]]:
    """Yield all maps in a schema."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from every_part(each)


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path) -> None:
    """Every campaign, event, target group and site in campaigns/."""
    folders: dict[str, schema.Kind] = {"campaigns": "campaign", "events": "event", "groups": "group"}
    assert accepts("site" if path.name == "site.yaml" else folders[path.parent.name], read(path).data)


def test_events() -> None:
    """Short and long types, possible values, and tags."""
    long = {"type": "text", "one_of": ["a", "b"], "example": "a"}
    assert accepts("event", {"name": "e", "attributes": {"a": "number", "b": long}, "tag": {"page": "/cart"}})
    for wrong in ({"attributes": {"a": "money"}}, {"attributes": {"a": {"type": "date", "one_of": ["x"]}}}):
        assert not accepts("event", {"name": "e", **wrong})
    for tag in ({}, {"on": "click"}, {"page": "cart"}, {"selector": "#a", "on": "hover"}):
        assert not accepts("event", {"name": "e", "tag": tag})


def test_what_the_language_can_say_is_valid() -> None:
    """Random triggers with every construct."""
    rng = random.Random(7)
    for _ in range(500):
        trigger = strategies.random_trigger(rng)
        assert accepts("campaign", CAMPAIGN | EMAIL | {"trigger": trigger}), trigger


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Three Wins"},
        {"id": "x" * 65},
        {"nmae": "x"},
        {"targets": "vip"},
        {"targets": []},
        {"channel": "pigeon"},
        {"channel": "email"},
        {"channel": "email", "content": {"subject": "x"}},
        {"content": {"title": "x", "layout": "tower"}},
        {"content": {"title": "x", "close": False}},
        {"content": {"title": "x", "close": False, "actions": []}},
        {"content": {"title": "x", "delay": 2}},
        {"content": {"title": "x", "theme": {"accent": "red"}}},
        {"content": {"title": "x", "image": {"alt": "x"}}},
        {"content": {"title": "x", "actions": [{"label": "x"}]}},
        {"content": None},
        {"trigger": {}},
        {"trigger": {"sequence": []}},
        {"trigger": {"sequence": [STEP], "all_of": [STEP, STEP], "within": "1m"}},
        {"trigger": {"sequence": [STEP, STEP]}},
        {"trigger": {"sequence": [STEP | {"times": 2}]}},
        {"trigger": {"all_of": [STEP, STEP]}},
        {"trigger": {"all_of": [STEP], "within": "1m"}},
        {"trigger": {"sequence": [STEP], "within": 10}},
        {"trigger": {"sequence": [STEP], "within": "0s"}},
        {"trigger": {"sequence": [STEP], "within": "1.5h"}},
        {"trigger": {"sequence": [STEP], "after_match": "never"}},
        EMAIL | {"trigger": {"sequence": [STEP], "unless": STEP}},
        EMAIL | {"trigger": {"sequence": [STEP], "unless": STEP | {"for": "1m", "anchor": "each"}}},
        {"trigger": {"sequence": [STEP], "unless": STEP | {"for": "1m"}}},
        {"trigger": {"sequence": [STEP], "reset_on": STEP}},
        {"trigger": {"sequence": [{}]}},
        {"trigger": {"sequence": [{"event": ""}]}},
        {"trigger": {"sequence": [{"event": []}]}},
        {"trigger": {"sequence": [{"event": 5}]}},
        {"trigger": {"sequence": [STEP | {"times": 51}], "within": "1m"}},
        {"trigger": {"sequence": [STEP | {"times": True}]}},
        {"trigger": {"sequence": [STEP | {"consecutive": True}]}},
        {"trigger": {"sequence": [STEP | {"inner": "1m"}]}},
        {"trigger": {"sequence": [STEP | {"min_gap": "1m"}]}},
        {"trigger": {"sequence": [STEP | {"where": {"x": {"over": 5}}}]}},
        {"trigger": {"sequence": [STEP | {"where": {"x": [1, 2]}}]}},
        {"trigger": {"sequence": [STEP | {"where": {"x": {}}}]}},
        {"trigger": {"sequence": [STEP | {"where": {"x": {"between": [1]}}}]}},
        {"trigger": {"sequence": [STEP | {"where": {"any_of": {"x": 1}}}]}},
        {"trigger": {"sequence": [STEP | {"where": {"none_of": [{}]}}]}},
        {"trigger": {"sequence": [STEP | {"where": None}]}},
        {"delay": "30m"},
        {"quiet_hours": "hold"},
        {"quiet_hours": HOURS},
        {"quiet_hours": HOURS | {"then": "drop", "fallback": "UTC"}},
        {"quiet_hours": HOURS | {"then": "drop", "from": "25:00"}},
        {"holdout": 10},
        {"holdout": "100%"},
        {"priority": 5000},
        {"limits": {}},
        {"limits": {"max": {"times": 51, "per": "1d"}}},
        {"schedule": {}},
        {"schedule": {"timezone": "user"}},
        {"schedule": {"from": "1.12.2026"}},
        {"schedule": {"days": ["monday"]}},
        {"schedule": {"hours": "9-21"}},
        {"goal": {"within": "1d"}},
        {"goal": STEP | {"where": {"x": {"over": 5}}}},
        {"content": {"title": "x", "body": "x", "html": "x"}},
        {"variants": VARIANTS},
        EMAIL | {"until_seen": True},
        {"until_seen": False},
        EMAIL | {"cancel_on": [STEP]},
        EMAIL | {"cancel_on_goal": False, "goal": STEP},
        EMAIL | {"if_state_lost": "send"},
        {"channel": "sms", "content": {"text": "x" * 1601}},
        {"channel": "sms", "content": {"title": "x"}},
        {"channel": "push", "content": {"title": "x", "body": "x", "data": {"n": 5}}},
        {"channel": "webhook", "content": {"url": "http://h.example/"}},
        {"channel": "webhook", "content": {"url": "https://{{ event.host }}/"}},
        {"channel": "webhook", "content": {"url": "https://h.example/", "body": "x"}},
    ],
    ids=str,
)
def test_mistakes_in_campaigns_are_found(change: dict[str, Any]) -> None:
    """The schema and the check both refuse them."""
    assert accepts("campaign", CAMPAIGN)
    assert not accepts("campaign", CAMPAIGN | change)
    with pytest.raises(InvalidDefinitions):
        validate(Campaign, CAMPAIGN | change)


@pytest.mark.parametrize(
    "change",
    [
        {"holdout": "2.5%", "priority": -1, "limits": {"max": {"times": 3, "per": "30d"}}, "goal": STEP},
        {"schedule": {"from": "2026-12-01", "to": "2026-12-24T18:00", "days": "mon", "hours": "21:00-03:00"}},
        {"quiet_hours": HOURS | {"then": "drop", "timezone": "user", "fallback": "UTC"}, "max_lateness": "30s"},
        {"quiet_hours": "ignore"},
        {"content": {"title": "x", "html": "<b>x</b>"}},
        EMAIL | {"delay": "30m", "cancel_on": [STEP], "cancel_on_goal": False, "goal": STEP, "if_state_lost": "send"},
        EMAIL | {"quiet_hours": "hold"},
        {"channel": "sms", "content": {"text": "x"}},
        {"channel": "push", "content": {"title": "x", "body": "x", "url": "/x", "data": {"n": "x"}}},
        {"channel": "webhook", "content": {"url": "https://h.example/{{ event.x }}", "body": {"a": [1, {"b": "x"}]}}},
        {"content": ..., "variants": VARIANTS},
    ],
    ids=str,
)
def test_what_a_campaign_may_say_is_valid(change: dict[str, Any]) -> None:
    """The schema and the check both accept it."""
    campaign = {name: value for name, value in (CAMPAIGN | change).items() if value is not ...}
    assert accepts("campaign", campaign)
    validate(Campaign, campaign)


def test_groups_and_sites() -> None:
    """A list may be the name of a file; a key is public, hashed or in the environment."""
    assert accepts("group", {"id": "vip", "rule": {"tier": "vip", "last_login": {"gte": "-30d"}}})
    assert accepts("group", {"id": "vip", "list": "vip.csv"})
    assert accepts("group", {"id": "vip", "list": ["u1"]})
    groups: list[dict[str, Any]] = [{}, {"rule": {}}, {"rule": {"a": 1}, "list": ["u1"]}, {"list": []}]
    for group in groups:
        assert not accepts("group", {"id": "vip", **group})
        with pytest.raises(InvalidDefinitions):
            validate(TargetGroup, {"id": "vip", **group})
    public = {"kind": "public", "key": "wk_public"}
    site: dict[str, Any] = {"id": "demo", "name": "Demo", "keys": [public, {"kind": "secret", "from_env": "KEY"}]}
    assert accepts("site", site)
    site |= {"caps": {"popup": {"max": 3, "per": "24h"}}, "quiet_hours": HOURS, "consent": {"sms": "sms_consent"}}
    site |= {"sends_per_minute": {"email": 600}, "webhooks": {"hosts": ["h.example"]}}
    assert accepts("site", site)
    validate(Site, site)
    sites: list[dict[str, Any]] = [
        {"keys": []},
        {"keys": [{"kind": "secret", "key": "sk_secret"}]},
        {"keys": [public | {"from_env": "KEY"}]},
        {"keys": [{"kind": "public"}]},
        {"sender": {"address": "nobody"}},
        {"caps": {"popup": {"max": 51, "per": "1d"}}},
        {"caps": {"pigeon": {"max": 5, "per": "1d"}}},
        {"quiet_hours": HOURS | {"channels": ["popup"]}},
        {"consent": {"popup": "x"}},
        {"sends_per_minute": {"email": 0}},
        {"webhooks": {}},
    ]
    for change in sites:
        assert not accepts("site", site | change)
        with pytest.raises(InvalidDefinitions):
            validate(Site, site | change)


@pytest.mark.parametrize("kind", schema.KINDS)
def test_every_field_is_explained(kind: schema.Kind) -> None:
    """Each definition and each field has a description; maps are closed."""
    whole = _file_schema(kind)
    assert whole["$schema"] == DIALECT
    for part in (whole, *whole.get("$defs", {}).values()):
        assert part.get("description"), f"no description of {part['title']}"
        for name, written in part["properties"].items():
            assert written.get("description"), f"no description of {part['title']}.{name}"
    for part in every_part(whole):
        if part.get("type") == "object":
            assert "additionalProperties" in part
        assert part.get("type") != "null"
        assert not {"$ref"} & part.keys() or part["$ref"].removeprefix("#/$defs/") in whole["$defs"]


def test_examples_are_valid() -> None:
    """The examples of each field fit its schema."""
    checked = 0
    for whole in map(schema.file_schema, schema.KINDS):
        for part in (whole, *whole.get("$defs", {}).values()):
            for name, written in part["properties"].items():
                for example in written.get("examples", ()):
                    assert fits(example, written, whole), (part["title"], name, example)
                    checked += 1
    assert checked > 80


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_command_prints_it(kind: schema.Kind) -> None:
    """`opportune schema KIND` prints JSON and nothing else; the default is campaigns."""
    command = [program(), "schema", *([] if kind == "campaign" else [kind])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == schema.file_schema(kind)
    assert done.stdout.endswith("}\n")
