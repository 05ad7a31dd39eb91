"""The JSON Schemas that editors use: they accept what the checks accept, and find most of what they refuse."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from console import definitions_words as say
from console.definitions import Campaign, InvalidDefinitions, Site, TargetGroup, validate
from console.definitions_schema import DIALECT
from opportune import schema
from opportune.source import read
from tests.property import strategies

ROOT = Path(__file__).resolve().parents[2]
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


def fits(value: Any, part: dict[str, Any], root: dict[str, Any]) -> bool:
    """Tell whether *value* meets a JSON Schema; knows the keywords that the schemas use, and no others."""
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
        case "minProperties":
            return not isinstance(value, dict) or _bounded(word, len(value), wanted)
        case "minimum" | "maximum":
            return not _is(value, "number") or _bounded(word, value, wanted)
        case "items":
            return not isinstance(value, list) or all(fits(each, wanted, root) for each in value)
        case "contains":
            return not isinstance(value, list) or any(fits(each, wanted, root) for each in value)
        case "required":
            return not isinstance(value, dict) or all(name in value for name in wanted)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(value[name], each, root) for name, each in wanted.items() if name in value
            )
        case "additionalProperties":
            others = [value[name] for name in value if name not in part["properties"]] if _is(value, "object") else []
            return not others if wanted is False else all(fits(each, wanted, root) for each in others)
    raise AssertionError(f"{word} is no keyword that this test knows")


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _bounded(word: str, size: float, wanted: float) -> bool:
    return size >= wanted if word.startswith("min") else size <= wanted


def accepts(kind: schema.Kind, value: Any) -> bool:
    """Tell whether a file of this kind may hold *value*, as far as the schema knows."""
    whole = schema.of_file(kind)
    return fits(value, whole, whole)


def every_part(part: Any) -> Iterator[dict[str, Any]]:
    """Yield all maps in a schema."""
    if isinstance(part, dict):
        yield part
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from every_part(each)


@pytest.mark.parametrize("path", sorted(CAMPAIGNS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_valid(path: Path) -> None:
    """Every campaign, target group and site in campaigns/."""
    kind: schema.Kind = "site" if path.name == "site.yaml" else "group" if path.parent.name == "groups" else "campaign"
    assert accepts(kind, read(path).data)


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
    ],
    ids=str,
)
def test_mistakes_in_campaigns_are_found(change: dict[str, Any]) -> None:
    """By the schema, and by the check."""
    assert accepts("campaign", CAMPAIGN)
    assert not accepts("campaign", CAMPAIGN | change)
    with pytest.raises(InvalidDefinitions):
        validate(Campaign, CAMPAIGN | change)


def test_groups_and_sites() -> None:
    """A list may be the name of a file; keys are public, hashed or in the environment."""
    assert accepts("group", {"id": "vip", "rule": {"tier": "vip", "last_login": {"gte": "-30d"}}})
    assert accepts("group", {"id": "vip", "list": "vip.csv"})
    assert accepts("group", {"id": "vip", "list": ["u1"]})
    groups: list[dict[str, Any]] = [{}, {"rule": {}}, {"rule": {"a": 1}, "list": ["u1"]}, {"list": []}]
    for group in groups:
        assert not accepts("group", {"id": "vip", **group})
        with pytest.raises(InvalidDefinitions):
            validate(TargetGroup, {"id": "vip", **group})
    public = {"kind": "public", "key": "wk_public"}
    site = {"id": "demo", "name": "Demo", "keys": [public, {"kind": "secret", "from_env": "KEY"}]}
    assert accepts("site", site)
    sites: list[dict[str, Any]] = [
        {"keys": []},
        {"keys": [{"kind": "secret", "key": "sk_secret"}]},
        {"keys": [public | {"from_env": "KEY"}]},
        {"keys": [{"kind": "public"}]},
        {"sender": {"address": "nobody"}},
    ]
    for change in sites:
        assert not accepts("site", site | change)
        with pytest.raises(InvalidDefinitions):
            validate(Site, site | change)


@pytest.mark.parametrize("kind", schema.KINDS)
def test_every_field_is_explained(kind: schema.Kind) -> None:
    """Each definition and field has its sentence from the one list of them; maps are closed."""
    whole = schema.of_file(kind)
    assert whole["$schema"] == DIALECT
    for part in (whole, *whole.get("$defs", {}).values()):
        assert part["description"] == say.WORDS.get(part["title"]), f"no words about {part['title']}"
        for name, written in part["properties"].items():
            assert written.get("description"), f"no words about {part['title']}.{name}"
    for part in every_part(whole):
        if part.get("type") == "object":
            assert "additionalProperties" in part
        assert part.get("type") != "null"
        assert not {"$ref"} & part.keys() or part["$ref"].removeprefix("#/$defs/") in whole["$defs"]


def test_nothing_is_explained_that_is_not_there() -> None:
    """No sentence or example outlives its field, and examples are valid."""
    parts = {
        part["title"]: (part, whole)
        for whole in map(schema.of_file, schema.KINDS)
        for part in (whole, *whole.get("$defs", {}).values())
    }
    for name in (*say.WORDS, *say.EXAMPLES):
        model, _, field = name.partition(".")
        assert model in parts, name
        assert not field or field in parts[model][0]["properties"], name
    for name, examples in say.EXAMPLES.items():
        model, _, field = name.partition(".")
        part, whole = parts[model]
        for example in examples:
            assert fits(example, part["properties"][field], whole), (name, example)


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_command_prints_it(kind: schema.Kind) -> None:
    """`opportune schema KIND` is JSON and nothing else; without KIND it is about campaigns."""
    command = [sys.executable, "-m", "opportune", "schema", *([] if kind == "campaign" else [kind])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == schema.of_file(kind)
    assert done.stdout.endswith("}\n")
