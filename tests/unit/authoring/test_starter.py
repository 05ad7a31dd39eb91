"""Starters: valid, commented, and written completely or not at all."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from opportune.authoring import starter
from shared.errors import InvalidRequest
from tests.support.definitions import examine, load_definitions


@pytest.mark.parametrize("kind", starter.KINDS)
def test_a_starter_is_accepted_as_it_is(kind: starter.Kind, tmp_path: Path) -> None:
    """It has no errors and no warnings; it has every kind of definition, and comments."""
    folder = tmp_path / "Meine Spiele"
    files = starter.write(kind, folder)
    examined = examine(folder, datetime.now(UTC))
    assert examined.problems == ()
    assert examined.definitions is not None
    assert examined.definitions.site.id == "meine-spiele"
    assert {path.parts[0] for path in files} == {"site.yaml", "events", "groups", "campaigns"}
    (text,) = ((folder / path).read_text() for path in files if path.name == "site.yaml")
    assert "# " in text
    assert "MEINE_SPIELE_SECRET_KEY" in text
    assert f"id: {kind}" not in text


def test_every_starter_has_a_key_of_its_own(tmp_path: Path) -> None:
    """Two starters never share a write key."""
    keys = set()
    for name in ("one", "two"):
        starter.write("shop", tmp_path / name)
        keys.add(load_definitions(tmp_path / name).site.keys[0].key)
    assert len(keys) == 2


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Files and folders with content stay untouched; an empty folder is fine; no temporary files are left."""
    mine = tmp_path / "mine"
    mine.mkdir()
    starter.write("gaming", mine)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    for taken in (mine, mine / "site.yaml"):
        with pytest.raises(InvalidRequest, match="already exists"):
            starter.write("shop", taken)
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """For example, a path below a file."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match=r"file/mine cannot be written: File exists"):
        starter.write("shop", tmp_path / "file" / "mine")
