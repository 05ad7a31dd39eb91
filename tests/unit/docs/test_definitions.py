"""docs/definitions.md is true: its folder is valid, its mistakes are found, and its tables match the fields."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from definitions.model.event import TYPES, Attribute, Event, Tag
from tests.support.definitions import examine
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "definitions.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL))
MISTAKES = re.findall(r"^```mistake\n(\S+) {3}(.*?) {3}(.*?)\n(.*?)\n```$", TEXT, flags=re.MULTILINE)
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def folder(path: Path) -> Path:
    """Write the document's folder, each file with the comment that names it."""
    for name, text in FILES.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# {name}\n{text}")
    return path


def test_every_block_is_read() -> None:
    """The test finds every file and every mistake in the document."""
    assert TEXT.count("```yaml") == len(FILES) == 5
    assert TEXT.count("```mistake") == len(MISTAKES) > 5


def test_the_folder_is_sound(tmp_path: Path) -> None:
    """It has no errors and no warnings."""
    examined = examine(folder(tmp_path), NOW)
    assert examined.problems == ()
    assert examined.definitions is not None


@pytest.mark.parametrize(("name", "before", "after", "said"), MISTAKES, ids=[each[2] for each in MISTAKES])
def test_every_mistake_is_found_and_said_as_written(
    tmp_path: Path, name: str, before: str, after: str, said: str
) -> None:
    """One change makes one problem, with the documented message and place."""
    file = folder(tmp_path) / name
    text = file.read_text()
    assert text.count(before) == 1
    file.write_text(text.replace(before, after))
    (problem,) = examine(tmp_path, NOW).problems
    assert str(problem).removeprefix(f"{tmp_path}/") == said


@pytest.mark.parametrize("model", [Event, Attribute, Tag], ids=lambda model: model.__name__)
def test_every_field_is_explained(model: type[Event | Attribute | Tag]) -> None:
    """The tables have every field, with the description that editors show."""
    (table,) = re.findall(
        rf"^\| {model.__name__.lower()} \| meaning \|\n\|---\|---\|\n((?:\|.*\|\n)+)", TEXT, re.MULTILINE
    )
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert rows == {field.alias or name: field.description for name, field in model.model_fields.items()}


def test_all_types_are_named() -> None:
    """The document names every type."""
    (sentence,) = re.findall(r"The types are (.*?);", TEXT)
    assert set(re.findall(r"`(\w+)`", sentence)) == set(TYPES)
