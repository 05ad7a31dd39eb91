"""The snippets of `opportune tags`: values in each language, and keys and endpoints that are known."""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.field_errors import validate
from opportune.cli import main
from opportune.site_tag.snippets import EventTags, tags
from opportune.site_tag.values import data_attributes, javascript, properties, python
from shared.errors import InvalidRequest
from tests.support.definitions import define
from tests.support.paths import ROOT

ODD = 'it\'s </script> "quoted" $HOME `x` ü & <b>'


def event(**attributes: Any) -> Event:
    """Return an event with *attributes*."""
    return validate(Event, {"name": "bought", "attributes": attributes})


def definitions(*events: dict[str, Any], keys: list[dict[str, str]] | None = None) -> Definitions:
    """Return a site with *events*."""
    written = keys or [{"kind": "public", "key": "wk_public"}, {"kind": "secret", "from_env": "SHOP_KEY"}]
    return define({"site": {"id": "shop", "name": "Shop", "keys": written}, "events": list(events)})


def only(*events: dict[str, Any], **options: Any) -> EventTags:
    """Return the tags of one event."""
    (found,) = tags(definitions(*events, **options), "https://e.example").events
    return found


def code(found: EventTags, name: str) -> str:
    """Return the code of the snippet *name*."""
    return next(each.code for each in (*found.browser, *found.server) if each.id == name)


def test_every_attribute_has_an_example_of_its_type() -> None:
    """The example is the defined one, the first possible one, or one that is clearly made up. Dots make objects."""
    bought = event(
        sku="text",
        amount={"type": "number", "example": 9.5},
        tier={"type": "text", "one_of": ["vip", "basic"]},
        gift="boolean",
        at="date",
        tags="list",
        **{"cart.total": {"type": "number", "example": 20}, "cart.items": "list"},
    )
    assert properties(bought) == {
        "sku": "SKU",
        "amount": 9.5,
        "tier": "vip",
        "gift": True,
        "at": "2026-03-01T10:00:00Z",
        "tags": ["A", "B"],
        "cart": {"total": 20, "items": ["A", "B"]},
    }
    assert properties(validate(Event, {"name": "bought"})) == {}


@pytest.mark.parametrize(
    ("value", "in_javascript", "in_python"),
    [
        ({"a": True, "b-c": [1, "x"]}, '{a: true, "b-c": [1, "x"]}', '{"a": True, "b-c": [1, "x"]}'),
        ("</script>", '"<\\/script>"', '"</script>"'),
        ("it's", '"it\'s"', '"it\'s"'),
        ("a\nb\\", '"a\\nb\\\\"', '"a\\nb\\\\"'),
        (None, "null", "None"),
    ],
)
def test_values_are_written_as_people_write_them(value: Any, in_javascript: str, in_python: str) -> None:
    """Values are written in each language and never end the element around them."""
    assert javascript(value) == in_javascript
    assert python(value) == in_python
    assert ast.literal_eval(python(value)) == value


def test_html_attributes_hold_simple_values() -> None:
    """Text that looks like another type is quoted. Capitals, lists and objects are left to JavaScript."""
    expressed, unsupported = data_attributes(
        {"sku": "007", "code": "12", "flag": "true", "n": 1.5, "on": False, "Name": "x", "l": []}
    )
    assert expressed == {
        "data-prop-sku": "007",
        "data-prop-code": '"12"',
        "data-prop-flag": '"true"',
        "data-prop-n": "1.5",
        "data-prop-on": "false",
    }
    assert sorted(unsupported) == ["Name", "l"]


def test_the_note_names_what_html_cannot_express() -> None:
    """The note names the attributes and the alternative."""
    found = only({"name": "bought", "attributes": {"Name": "text", "items": "list", "sku": "text"}})
    assert found.browser[0].code == '<button data-event="bought" data-prop-sku="SKU">…</button>'
    assert found.browser[0].note == "HTML cannot express Name, items. If you need them, use JavaScript."


def test_the_element_is_the_one_that_is_meant() -> None:
    """The element fits click, submit or view. Page and selector are included."""
    found = only({"name": "sent", "tag": {"page": "/contact", "selector": "#form", "on": "submit"}})
    assert code(found, "attributes") == '<form data-event="sent" data-event-on="submit">…</form>'
    assert (found.page, found.selector) == ("/contact", "#form")


def test_odd_names_and_values_stay_what_they_are() -> None:
    """A shell and Python read the same values back, whatever characters they contain."""
    found = only({"name": ODD, "attributes": {"note": {"type": "text", "example": ODD}}})
    meant = {"userId": "USER-ID", "event": ODD, "properties": {"note": ODD}}
    words = shlex.split(code(found, "curl"))
    assert json.loads(words[words.index("-d") + 1]) == meant
    calls = [node for node in ast.walk(ast.parse(code(found, "python"))) if isinstance(node, ast.Call)]
    arguments = next([ast.literal_eval(each) for each in call.args] for call in calls if len(call.args) == 3)
    assert arguments == ["USER-ID", ODD, {"note": ODD}]


def test_keys_and_endpoint_are_filled_in_where_they_are_known() -> None:
    """A public key appears itself, a secret one as its variable. Unknown values are listed."""
    known = tags(definitions({"name": "bought"}), "https://e.example")
    assert known.script.code == '<script async src="https://e.example/tag.js" data-key="wk_public"></script>'
    assert known.missing == {}
    assert '-u "$SHOP_KEY:"' in code(known.events[0], "curl")
    assert 'os.environ["SHOP_KEY"]' in code(known.events[0], "python")
    assert "process.env.SHOP_KEY" in code(known.events[0], "node")
    hashed = [{"kind": "public", "sha256": "0" * 64}]
    unknown = tags(definitions({"name": "bought"}, keys=hashed), None)
    assert list(unknown.missing) == ["https://YOUR-ENDPOINT", "YOUR-PUBLIC-KEY"]
    assert all(placeholder in unknown.script.code for placeholder in unknown.missing)


def test_an_event_that_is_not_defined_is_named() -> None:
    """The error lists the defined events. For a site without events it says how to define one."""
    with pytest.raises(InvalidRequest, match="no event 'sold'; defined: bought"):
        tags(definitions({"name": "bought"}), None, "sold")
    with pytest.raises(InvalidRequest, match="no event is defined"):
        tags(definitions(), None)


def test_the_command_prints_code_that_can_be_copied(tmp_path: Path) -> None:
    """No line is wrapped on a narrow screen. JSON has the same code, and a page is written."""
    folder = ROOT / "campaigns" / "demo"

    def run(*arguments: str) -> str:
        url = ["--url", "https://a-rather-long-endpoint.execute-api.eu-central-1.amazonaws.com"]
        done = CliRunner().invoke(main.app, ["tags", str(folder), *arguments, *url], env={"COLUMNS": "40"})
        assert done.exit_code == 0, done.output
        return done.stdout

    printed = run("game_result")
    found = json.loads(run("--json"))
    assert [each["event"] for each in found["events"]][:2] == ["cart_filled", "deposit"]
    (result,) = (each for each in found["events"] if each["event"] == "game_result")
    for snippet in (found["script"], found["identify"], *result["snippets"].values()):
        assert snippet in printed
    assert "deposit" not in printed
    page = tmp_path / "tags.html"
    assert "written to" in run("--html", str(page)).replace("\n", " ")
    assert "Demo casino" in page.read_text()


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    """The mistakes: an unknown event, a missing folder, a page that cannot be written, and a bad URL."""
    folder = str(ROOT / "campaigns" / "demo")
    for arguments, says in (
        ([folder, "sold"], "no event 'sold'"),
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([folder, "--html", str(tmp_path / "no" / "x.html")], "No such file"),
        ([folder, "--url", "events.example.com"], "events.example.com: an endpoint begins with https://"),
    ):
        done = CliRunner().invoke(main.app, ["tags", *arguments])
        assert done.exit_code == 2
        assert says in " ".join(done.stderr.split())
