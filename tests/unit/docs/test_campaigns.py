"""docs/campaigns.md is true: its examples are checked, and its tables match the fields."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from definitions.checks.cross_check import cross_check
from definitions.compiler.ruleset import compile_campaign
from definitions.loading.yaml_source import Source
from definitions.model.campaign import Campaign
from definitions.model.content import CONTENTS
from definitions.model.delivery import Goal, Limits, TimesPer, Variant
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.fields import Definition
from definitions.model.group import TargetGroup
from definitions.model.identity import EventsPerUser, Identity, IdentityKey, SiteLimits
from definitions.model.popup import Action, Image, Theme
from definitions.model.site import Cap, Key, Sender, Site, Webhooks
from definitions.model.times import QuietHours, Schedule, SiteQuietHours
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "campaigns.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
TABLES: dict[str, type[Definition]] = {
    "campaign": Campaign,
    **CONTENTS,
    "action": Action,
    "image": Image,
    "theme": Theme,
    "variants": Variant,
    "schedule": Schedule,
    "limits": Limits,
    "max": TimesPer,
    "goal": Goal,
    "quiet_hours": QuietHours,
    "site": Site,
    "key": Key,
    "sender": Sender,
    "cap": Cap,
    "quiet_hours of the site": SiteQuietHours,
    "webhooks": Webhooks,
    "identity": Identity,
    "identity key": IdentityKey,
    "limits of the site": SiteLimits,
    "events_per_user": EventsPerUser,
}
REST: dict[str, Any] = {
    "id": "example",
    "name": "Example",
    "targets": "everyone",
    "trigger": {"sequence": [{"event": "cart"}]},
    "channel": "email",
    "content": {"subject": "Hello", "text": "Hello"},
}


class Example(NamedTuple):
    """A block of YAML, and the message if it is refused."""

    line: int
    data: dict[str, Any]
    refused: str


def examples() -> Iterator[Example]:
    """Yield the document's examples in order."""
    blocks = re.finditer(r"^```yaml\n(.*?)^```$(?:\n\n```refused\n(.*?)^```$)?", TEXT, flags=re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield Example(TEXT.count("\n", 0, block.start()) + 1, Source("example", block[1]).data, block[2] or "")


EXAMPLES = list(examples())
SITE = next(example.data for example in EXAMPLES if "keys" in example.data)


def campaign(data: dict[str, Any]) -> dict[str, Any]:
    """Return a whole campaign with *data* in it."""
    rest = {name: value for name, value in REST.items() if name != "content" or "variants" not in data}
    return rest | data


def test_every_block_is_an_example() -> None:
    """The test finds every block of YAML and every refusal in the document."""
    assert len(EXAMPLES) == TEXT.count("```yaml\n")
    assert sum(bool(example.refused) for example in EXAMPLES) == TEXT.count("```refused\n") >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_examples_are_what_they_say(example: Example) -> None:
    """They are valid, also together with the document's site, or are refused with the documented message."""
    if "keys" in example.data:
        validate(Site, example.data)
        return
    written = campaign(example.data)
    if example.refused:
        with pytest.raises(InvalidDefinitions) as caught:
            validate(Campaign, written)
        assert str(caught.value) == example.refused.strip()
        return
    site, read = validate(Site, SITE), validate(Campaign, written)
    group = TargetGroup(id="vip-players", rule={"tier": "vip"})
    assert cross_check(site, [], [group], [read]) == []
    assert compile_campaign(read, site).id == written["id"]


def tables() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name and the rows of every table of fields."""
    for table in re.finditer(r"^\| ([^|]+) \| meaning \|\n\|---\|---\|\n((?:\|.*\|\n)+)", TEXT, flags=re.MULTILINE):
        yield table[1], dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table[2], flags=re.MULTILINE))


def test_every_field_is_explained() -> None:
    """The tables have every field, with the description that editors show."""
    found = dict(tables())
    assert found.keys() == TABLES.keys()
    for name, rows in found.items():
        model = TABLES[name]
        described = {field.alias or written: field.description for written, field in model.model_fields.items()}
        if model is SiteQuietHours:
            described = {"channels": described["channels"]}
        assert rows == described, name


def test_an_example_of_every_field_of_a_campaign() -> None:
    """Every field appears in an example."""
    shown = {name for example in EXAMPLES if not example.refused for name in example.data}
    assert shown >= set(Campaign.model_fields) | set(Site.model_fields)


def test_edits_keep_the_progress_of_customers() -> None:
    """The first campaign's trigger has the same key without the campaign's other fields."""
    whole = validate(Campaign, EXAMPLES[0].data)
    bare = validate(Campaign, REST | {name: EXAMPLES[0].data[name] for name in ("id", "trigger")})
    assert compile_campaign(whole).trigger.key == compile_campaign(bare).trigger.key
