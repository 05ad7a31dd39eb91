"""The context of an event: what conditions and content can read of it, and what clients may put there.

The class: trackers, servers and strangers send any JSON as context. Only named text counts, it is bounded, and nothing
else of the event can pass for it.
"""

from typing import Any

import msgspec
import pytest

from gateway import body, tracking
from gateway.decider_client import build_request
from gateway.write_keys import SiteAccess
from shared.conditions.parsing import parse_condition
from shared.conditions.paths import get_value, names_sent
from shared.conditions.predicate import compile_predicate
from shared.context import MAX_LENGTH, NAMES, select, timezone_of, with_context
from shared.contracts import SiteCatalogue, write_key

WHOLE: dict[str, Any] = {
    "locale": "de-AT",
    "timezone": "Europe/Vienna",
    "device": {"type": "mobile", "id": "x"},
    "page": {
        "path": "/a",
        "referrer": "https://r.example/",
        "search": "?a",
        "title": "A",
        "url": "https://s.example/a",
    },
    "campaign": {"name": "n", "source": "s", "medium": "m", "term": "t", "content": "c", "id": "x"},
    "ip": "192.0.2.1",
    "userAgent": "Mozilla",
}
NOW = 1_790_000_000_000


def sent(names: list[str], context: Any, properties: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the attributes that reach the Decider when triggers read *names*; the context itself must not."""
    reads = sorted({each for name in names for each in names_sent(name)})
    key = write_key("k")
    access = SiteAccess("demo", SiteCatalogue([key], {"A": reads}), key)
    item = {"userId": "anna", "event": "A", "properties": properties or {}, "context": context}
    message = tracking.parse_single(body.parse(msgspec.json.encode(item)), "track", tracking.Envelope(NOW))
    (event,) = msgspec.to_builtins(build_request(access, [message], deadline=NOW))["items"]
    assert "context" not in event
    found: dict[str, Any] = event.get("attributes", {})
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_passed_on_alone(name: str) -> None:
    """A trigger that reads one part gets that part and no more."""
    assert sent([name], WHOLE) == with_context({}, WHOLE, [name])
    path = name.split(".")
    assert get_value(sent([name], WHOLE), path) == get_value({"context": WHOLE}, path)


def test_what_no_trigger_reads_is_not_passed_on() -> None:
    """An event whose triggers read no context is as small as before."""
    assert sent(["amount"], WHOLE, {"amount": 7}) == {"amount": 7}
    assert sent([], WHOLE, {"amount": 7}) == {}
    assert sent(["context.ip", "context.device.id", "context.page"], WHOLE) == {}


@pytest.mark.parametrize(
    "context",
    [
        None, [], "mobile", 7, {}, {"device": "mobile"}, {"device": ["type"]}, {"device": {"type": None}},
        {"device": {"type": 7}}, {"device": {"type": True}}, {"device": {"type": ["mobile"]}}, {"device": {"type": ""}},
        {"device.type": "mobile"}, {"context": {"device": {"type": "mobile"}}},
    ],
)  # fmt: skip
def test_what_is_no_text_is_missing(context: Any) -> None:
    """The event counts all the same."""
    assert sent(["context.device.type"], context) == {}


def test_text_is_bounded() -> None:
    """A page's title may have any length."""
    page = {"title": "x" * 5000, "path": "/" + "ä" * 5000}
    found = select({"page": page}, ["context.page.title", "context.page.path"])
    assert [len(each) for each in found["page"].values()] == [MAX_LENGTH] * 2


@pytest.mark.parametrize("properties", [{"context": {"device": {"type": "mobile"}}}, {"context.device.type": "mobile"}])
@pytest.mark.parametrize("context", [{}, {"device": {"type": "desktop"}}])
def test_a_property_does_not_pass_for_the_context(properties: dict[str, Any], context: dict[str, Any]) -> None:
    """Whatever its form."""
    predicate = compile_predicate(parse_condition({"context.device.type": "mobile"}))
    assert not predicate(sent(["context.device.type"], context, properties))
    assert predicate(sent(["context.device.type"], {"device": {"type": "mobile"}}, properties))


def test_the_context_of_a_batch_is_that_of_its_items() -> None:
    """Field by field, unless the item has its own."""
    items = [{"type": "track", "userId": "a", "event": "A", "context": each} for each in ({}, {"locale": "fr"})]
    whole = body.parse(msgspec.json.encode({"batch": items, "context": WHOLE}))
    messages = tracking.parse_batch(whole, tracking.Envelope(NOW)).messages
    key = write_key("k")
    reads = ["context", "context.locale", "context.timezone"]
    request = build_request(SiteAccess("demo", SiteCatalogue([key], {"A": reads}), key), messages, deadline=1)
    contexts = [each["attributes"]["context"] for each in msgspec.to_builtins(request)["items"]]
    assert contexts == [{"locale": each, "timezone": "Europe/Vienna"} for each in ("de-AT", "fr")]


@pytest.mark.parametrize("context", [None, [], "UTC", {}, {"timezone": 7}])
def test_a_missing_zone_is_none(context: Any) -> None:
    """Clients send any JSON."""
    assert timezone_of({"context": context}) is None
    assert timezone_of({}) is None
