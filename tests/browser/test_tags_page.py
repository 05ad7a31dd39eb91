"""The page of `opportune tags --html` in a real browser, and its snippets in a site's page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from opportune.site_tag import page as tags_page
from opportune.site_tag.snippets import EventTags, SiteTags, tags
from tests.browser.test_report import width
from tests.support.definitions import define
from tests.support.tag_site import KEY, Edge, Site, eventually

INJECTED = "<img src=x onerror=\"document.title='injected'\">"
ODD = "</script> 'single' \"double\" & ü"
EVENTS: list[dict[str, Any]] = [
    {
        "name": "game_result",
        "description": f"A game has ended. {INJECTED}",
        "attributes": {
            "outcome": {"type": "text", "one_of": ["win", "loss"], "description": "How it ended."},
            "stake": {"type": "number", "example": 12.5},
            "code": {"type": "text", "example": "12"},
            "bonus": {"type": "boolean", "example": False},
            "note": {"type": "text", "example": ODD},
            "Table": {"type": "object", "example": {"id": 7, "seats": ["a", "b"]}},
        },
        "tag": {"page": "/games/*", "selector": "#end"},
    },
    {"name": "newsletter", "tag": {"selector": "form", "on": "submit"}},
    {"name": "offer seen", "tag": {"selector": "#offer", "on": "view"}},
    {"name": "deposit" + "_very_long" * 8, "attributes": {"amount": "number"}},
]


def found(endpoint: str | None = "https://events.example") -> SiteTags:
    """Return the tags of a site with these events."""
    keys = [{"kind": "public", "key": KEY}, {"kind": "secret", "from_env": "SECRET_KEY"}]
    site = {"id": "shop", "name": f"Shop {INJECTED}", "keys": keys}
    return tags(define({"site": site, "events": EVENTS}), endpoint)


@pytest.fixture(name="page")
def _page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "tags.html"
    path.write_text(tags_page.render(found(None)), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    failures: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert failures == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]


def test_it_has_every_snippet_of_every_event(page: Page) -> None:
    """The page has titles, places and attributes; input appears as text; placeholders are listed on top."""
    expect(page).to_have_title(f"Tags of Shop {INJECTED} – Opportune")
    expect(page.get_by_role("note")).to_contain_text("https://YOUR-ENDPOINT: the address of your endpoint")
    expect(page.get_by_role("heading", level=2)).to_have_text(["Once", *(each["name"] for each in EVENTS)])
    expect(page.get_by_role("region", name="Attributes of game_result").get_by_role("row")).to_have_count(7)
    expect(page.get_by_text("/games/*")).to_be_visible()
    known = found(None)
    written = [
        known.script,
        known.identify,
        *(each for event in known.events for each in (*event.browser, *event.server)),
    ]
    assert page.locator("pre").all_text_contents() == [each.code for each in written]


def test_a_click_copies_the_code(page: Page) -> None:
    """The button copies the exact code, says so, and returns to its label."""
    copy = page.get_by_role("button", name="Copy: JavaScript").first
    copy.click()
    expect(copy).to_have_text("Copied")
    (javascript,) = (each.code for each in found(None).events[0].browser if each.id == "javascript")
    assert page.evaluate("navigator.clipboard.readText()") == javascript
    expect(copy).to_have_text("Copy", timeout=5000)


def test_without_a_clipboard_the_code_is_selected(page: Page) -> None:
    """Without access to the clipboard, the code is selected."""
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false; }"
    )
    page.get_by_role("button", name="Copy: In every page").click()
    expect(page.get_by_text("Selected: press Ctrl+C")).to_be_visible()
    assert page.evaluate("getSelection().toString()") == found(None).script.code


def test_server_code_is_folded_if_the_page_can_send_the_event(page: Page) -> None:
    """The server's code is folded if the event has a place in the pages, and open otherwise."""
    shown = [details.evaluate("details => details.open") for details in page.locator("details").all()]
    assert shown == [False, False, False, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("pixels", [360, 768, 1600])
def test_it_fits_every_screen(page: Page, pixels: int, scheme: Any) -> None:
    """Long names and lines do not widen the page, and both colour schemes have enough contrast."""
    page.set_viewport_size({"width": pixels, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(each => (each.open = true))")
    assert width(page) <= pixels
    shown = "(element) => [getComputedStyle(element).backgroundColor, getComputedStyle(element).color]"
    colours = [page.locator(name).first.evaluate(shown) for name in ("body", "pre", "button")]
    for pair in colours:
        background, text = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in pair)
        assert abs(background - text) > 450


def sent(context: BrowserContext, site: Site, edge: Edge, body: str, act: str) -> Page:
    """Open a page of the site with the script and *body*, then run *act* in it."""
    known = found(edge.url)
    head = f"<!doctype html><title>A page</title>{known.script.code}"
    site.pages["/"] = (f"{head}<body>{body}</body>", {})
    opened = context.new_page()
    opened.goto(site.url)
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate(act)
    return opened


def snippet(event: EventTags, name: str) -> str:
    """Return one of an event's snippets."""
    return next(each.code for each in (*event.browser, *event.server) if each.id == name)


TABLE = {"Table": {"id": 7, "seats": ["a", "b"]}}
PROPERTIES = {"outcome": "win", "stake": 12.5, "code": "12", "bonus": False, "note": ODD}


@pytest.mark.parametrize(
    ("number", "act", "properties"),
    [
        (0, "document.querySelector('button').click()", PROPERTIES),
        # Prevent the navigation: a browser that closes while another page loads may hang.
        (1, "onsubmit = (event) => event.preventDefault(); document.querySelector('form').requestSubmit()", {}),
        (2, "document.querySelector('section').scrollIntoView()", {}),
    ],
)
def test_attributes_send_the_event(
    context: BrowserContext, edge: Edge, site: Site, number: int, act: str, properties: dict[str, Any]
) -> None:
    """A click, a submit or a view of the pasted element sends the event with typed values."""
    event = found(edge.url).events[number]
    spacer = '<div style="height: 3000px"></div>'
    opened = sent(context, site, edge, f"{spacer}{snippet(event, 'attributes')}", act)
    eventually(lambda: bool(edge.named(event.event)), opened)
    assert edge.named(event.event)[0]["properties"] == properties


def test_javascript_sends_the_event_and_says_who_it_is(context: BrowserContext, edge: Edge, site: Site) -> None:
    """`identify` works before the tag has loaded; `track` sends all attributes, even objects."""
    known = found(edge.url)
    early = f"<script>{known.identify.code}</script>"
    opened = sent(context, site, edge, early, snippet(known.events[0], "javascript"))
    eventually(lambda: bool(edge.named("game_result")), opened)
    (message,) = edge.named("game_result")
    assert message["properties"] == PROPERTIES | TABLE
    assert message["userId"] == "USER-ID"


def test_the_code_for_node_calls_segments_library_as_it_wants(page: Page) -> None:
    """The code, run with a stand-in for the library's class, passes key, host and event, and flushes."""
    code = snippet(found().events[0], "node")
    (body,) = re.findall(r"^import .*?\n(.*)", code, flags=re.DOTALL)
    calls = page.evaluate(
        """async (body) => {
          const calls = [];
          class Analytics {
            constructor(options) { calls.push(options); }
            track(message) { calls.push(message); }
            async closeAndFlush() { calls.push("flushed"); }
          }
          const process = { env: { SECRET_KEY: "the key" } };
          const run = async () => {};
          await new run.constructor("Analytics", "process", body)(Analytics, process);
          return calls;
        }""",
        code.split("\n", 1)[1],
    )
    assert body
    assert calls == [
        {"writeKey": "the key", "host": "https://events.example"},
        {
            "userId": "USER-ID",
            "event": "game_result",
            "properties": PROPERTIES | {"Table": {"id": 7, "seats": ["a", "b"]}},
        },
        "flushed",
    ]
