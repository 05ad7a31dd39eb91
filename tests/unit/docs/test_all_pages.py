"""What the documents promise is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.routes import ROUTES
from tests.support.paths import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = ROOT / "README.md"
COMMANDS = ROOT / "docs" / "commands.md"


def text(path: Path) -> str:
    """Return a document's text."""
    return path.read_text(encoding="utf-8")


def commands(document: str, program: str) -> set[str]:
    """Return the first words that follow *program* in code."""
    document = document.replace("SETUSER opportune", "")  # a user of Redis, not the program
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", document, flags=re.DOTALL))
    return set(re.findall(rf"(?:^|`|\s){program} ([a-z][a-z0-9-]*)", code))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    """Every link to a file of the repository finds it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text(path)):
        if "://" not in target and not target.startswith(("#", "mailto:")):
            assert (path.parent / target.split("#")[0]).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_exist(path: Path) -> None:
    """Every `make x` in a document is a target with a line of help."""
    targets = set(re.findall(r"^([a-z0-9.-]+):.*## ", text(ROOT / "Makefile"), flags=re.MULTILINE))
    assert commands(text(path), "make") <= targets


def test_every_make_target_is_explained() -> None:
    """Each target that is no file and no environment has its one line in `make help`."""
    makefile = text(ROOT / "Makefile")
    (phony,) = re.findall(r"^\.PHONY: (help .*)$", makefile, flags=re.MULTILINE)
    hidden = {".venv", ".venv-sam", ".runtime", "python3.13"}
    explained = set(re.findall(r"^([a-z0-9.-]+):.*## ", makefile, flags=re.MULTILINE))
    assert set(phony.split()) - hidden == explained
    command = ["make", "--no-print-directory", "help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in done.stdout.splitlines()} == explained


def test_opportune_commands_exist() -> None:
    """Every `opportune x` in a document is a command, and docs/commands.md lists each command."""
    help_command = [sys.executable, "-m", "opportune", "--help"]
    wide = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(help_command, cwd=ROOT, env=wide, capture_output=True, text=True, check=True)
    offered = set(re.findall(r"^│ ([a-z][a-z-]*) ", done.stdout, flags=re.MULTILINE))
    for path in DOCUMENTS:
        assert commands(text(path), "opportune") <= offered, path.name
    assert commands(text(COMMANDS), "opportune") == offered


def test_public_addresses_exist() -> None:
    """Every address below /v1 in the README is a route of the Gateway."""
    served = " ".join(path for route in ROUTES for path in route.paths) + " "
    for address in set(re.findall(r"/v1/[a-z]+", text(README))):
        assert re.search(rf"{address}[/. ]", served), address


def test_no_document_knows_a_machine() -> None:
    """No document names a folder of a developer's machine."""
    for path in DOCUMENTS:
        assert not re.search(r"/(?:home|Users|root)/\w", text(path)), path.name


def test_the_campaign_of_the_readme_is_the_one_that_runs() -> None:
    """The README shows the demo's campaign as it is."""
    source = (ROOT / "campaigns" / "demo" / "campaigns" / "three-wins.yaml").read_text(encoding="utf-8")
    assert f"```yaml\n{source}```" in text(README)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_exist(path: Path) -> None:
    """Every path below a folder of the repository that a document names is there."""
    folders = "functions|opportune|tests|web|docs|campaigns|events|requirements|infrastructure"
    for named in re.findall(rf"`((?:{folders})/[^\s`<>*]*)`", text(path)):
        assert (ROOT / named).exists(), named


def test_the_index_lists_every_page() -> None:
    """docs/README.md links every page beside it."""
    index = ROOT / "docs" / "README.md"
    pages = {path.name for path in index.parent.glob("*.md")} - {index.name}
    assert pages <= set(re.findall(r"\]\(([^)]+)\)", text(index)))


def test_the_readme_is_short() -> None:
    """It is read as a whole; tables and details are in docs/."""
    assert len(text(README).splitlines()) < 200
