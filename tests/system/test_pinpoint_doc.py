"""docs/pinpoint.md: the import works as written, and the Liquid replaces Pinpoint's variables."""

import json
import re
from pathlib import Path

import pytest

from engager.render import Templates
from opportune.audiences.customers.pinpoint.customer import CHANNEL_TYPES, DEMOGRAPHIC, LOCATION
from opportune.audiences.customers.pinpoint.export import open_export
from opportune.audiences.customers.rows import Row
from tests.support.builders import compiled
from tests.support.paths import ROOT
from tests.support.played import File, play, steps
from tests.support.whole_system import System

DOCUMENT = ROOT / "docs" / "pinpoint.md"
TRIGGER = {"sequence": [{"event": "order_placed"}]}
TEXT = DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.timeout(400)
def test_it_can_be_played(system: System) -> None:
    """Every file and every command works, with the output in the document."""
    assert play(DOCUMENT, system.folder, {}) >= 9


def table(head: str) -> list[list[str]]:
    """Return the rows of the table that begins with *head*."""
    found = TEXT[TEXT.index(head) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in found]


def test_the_fields_of_endpoints_become_what_the_table_says() -> None:
    """The table has every field that is read, with its attribute."""
    rows = " ".join(" → ".join(row) for row in table("| in Pinpoint | here |\n|---|---|\n| `User.UserId`"))
    for field, attribute in (DEMOGRAPHIC | LOCATION).items():
        assert f".{field}`" in rows
        assert f"`{attribute}`" in rows
    for channel in set(CHANNEL_TYPES) - {"PUSH"}:
        assert f"`{channel}`" in rows


def test_texts_come_out_as_the_table_says(tmp_path: Path) -> None:
    """The Liquid in the table renders as it says, for Ada as imported from the document's export."""
    for step in steps(TEXT):
        if isinstance(step, File) and step.path.startswith("export/"):
            (tmp_path / Path(step.path).name).write_text(step.text)
    with open_export(tmp_path, endpoint_ids=False, progress=lambda _: None) as rows:
        (ada,) = (row for row in rows.rows if isinstance(row, Row) and row.user == "ada")
    variables = {"customer": json.loads(json.dumps(ada.attributes)) | {"country": "AT"}, "event": {"order_id": "A-1"}}
    texts = table("| in Pinpoint | here | for Ada |")
    assert len(texts) >= 8
    for number, (_, template, expected) in enumerate(texts):
        content = {"text": template.strip("`")}
        rendered = Templates().render("site", number, compiled(TRIGGER, channel="sms", content=content), variables)
        assert rendered["text"] == expected, template
