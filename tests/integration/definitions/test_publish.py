"""Publishing to a real MongoDB: no changes, races, and unfinished publishes."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from definitions.publishing.publish import Published
from definitions.publishing.versions import PublishConflict
from opportune.authoring import publishing
from shared import mongodb as store
from tests.support.paths import ROOT

DEMO = ROOT / "campaigns" / "demo"
ENV = {"OPPORTUNE_DEMO_SECRET_KEY": "a-secret-key"}


def renamed(folder: Path, name: str) -> Path:
    """Return a copy of the demo's definitions whose popup has another name."""
    for path in DEMO.rglob("*.yaml"):
        copy = folder / name / path.relative_to(DEMO)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace("50% boost after", f"{name} after"))
    return folder / name


def live(database: Database[dict[str, Any]]) -> tuple[int, str]:
    """Return the live version and the name of its campaign."""
    version = store.read_pointers(database)["demo"].ruleset
    campaigns = {campaign.id: campaign for campaign in store.read_ruleset(database, "demo", version).campaigns}
    return version, campaigns["three-wins"].name.split(" after")[0]


def test_publishing_the_same_twice_changes_nothing(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """The second publish reports no change; a change makes a new version."""
    first = publishing.publish_folder(mongodb, renamed(tmp_path, "one"), ENV)
    again = publishing.publish_folder(mongodb, renamed(tmp_path, "one"), ENV)
    other = publishing.publish_folder(mongodb, renamed(tmp_path, "two"), ENV)
    assert [(p.version, p.changed) for p in (first, again, other)] == [(1, True), (1, False), (2, True)]
    assert live(mongodb) == (2, "two")


def test_what_a_dead_publish_has_left_is_not_used_again(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A ruleset that no pointer refers to stays untouched; the next publish takes the next version."""
    publishing.publish_folder(mongodb, renamed(tmp_path, "one"), ENV)
    mongodb.rulesets.insert_one({"_id": "demo:2", "site": "demo", "ruleset": {"version": 2}})
    assert publishing.publish_folder(mongodb, renamed(tmp_path, "two"), ENV).version == 3
    assert live(mongodb) == (3, "two")


def test_of_publishes_at_once_what_is_live_is_what_was_said(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Each publish goes live under its own version or gets a conflict; no version has two contents."""
    folders = [renamed(tmp_path, f"rival{n}") for n in range(4)]
    for _ in range(5):
        barrier, said = threading.Barrier(len(folders)), dict[str, Published]()

        def publish(folder: Path, start: threading.Barrier = barrier, told: dict[str, Published] = said) -> None:
            start.wait()
            with contextlib.suppress(PublishConflict):
                told[folder.name] = publishing.publish_folder(mongodb, folder, ENV)

        threads = [threading.Thread(target=publish, args=(folder,)) for folder in folders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        versions = {published.version: folder for folder, published in said.items()}
        assert len(versions) == len(said) > 0
        version, name = live(mongodb)
        assert versions[version] == name


def test_a_missing_key_is_named(mongodb: Database[dict[str, Any]]) -> None:
    """The error names the missing environment variable, and nothing is written."""
    with pytest.raises(Exception, match="OPPORTUNE_DEMO_SECRET_KEY"):
        publishing.publish_folder(mongodb, DEMO, {})
    assert mongodb.list_collection_names() == []
