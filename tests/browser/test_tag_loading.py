"""How the tag gets onto a page, in a real browser: its key, without attributes, and in a prerendered page.

The class of faults: the tag runs without the script element that it was written for. Tag managers create the element by
script and drop its attributes, bundlers import it as a module, and browsers run it before there is a visitor.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.paths import ROOT
from tests.support.tag_site import KEY, Edge, Site, eventually
from tests.support.tag_site import page as page_of

Open = Callable[..., Page]
HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>'
INJECT = "const s = document.createElement('script'); s.async = true; s.src = '{src}'; document.head.append(s);"
GUIDE = (ROOT / "docs" / "tag.md").read_text(encoding="utf-8")


@pytest.fixture(name="open_page")
def _open_page(context: BrowserContext, edge: Edge, site: Site) -> Open:
    """Return a function that opens a page with *html*, where EDGE and KEY stand for address and key."""

    def open_page(html: str, **headers: str) -> Page:
        site.pages["/"] = (HEAD + html.replace("EDGE", edge.url).replace("KEY", KEY), headers)
        opened = context.new_page()
        opened.goto(site.url)
        return opened

    return open_page


LOADED = {
    "address": '<script async src="EDGE/tag.js?key=KEY"></script>',
    "injected": f"<script>{INJECT.format(src='EDGE/tag.js?key=KEY')}</script>",
    "injected twice": f"<script>{{ {INJECT.format(src='EDGE/tag.js?key=KEY')} }}</script>" * 2,
    "init before": (
        '<script>(window.opportune ||= []).push(["init", {key: "KEY"}])</script><script src="EDGE/tag.js"></script>'
    ),
    "init after": '<script src="EDGE/tag.js"></script><script>opportune.push(["init", {key: "KEY"}])</script>',
    "init much later": (
        '<script src="EDGE/tag.js"></script>'
        '<script>setTimeout(() => opportune.push(["init", {key: "KEY"}]), 700)</script>'
    ),
    "init and injected": (
        f'<script>(window.opportune ||= []).push(["init", {{key: "KEY"}}]);{INJECT.format(src="EDGE/tag.js")}</script>'
    ),
    "module element": '<script type="module" src="EDGE/tag.js?key=KEY"></script>',
    "module import": '<script type="module">import "EDGE/tag.js?key=KEY"</script>',
    "dynamic import": '<script type="module">await import("EDGE/tag.js?key=KEY")</script>',
    "import from a classic script": '<script>import("EDGE/tag.js?key=KEY&pages=off")</script>',
    "first without a key, then with one": (
        '<script src="EDGE/tag.js"></script><script src="EDGE/tag.js?key=KEY"></script>'
    ),
    "in a shadow root": (
        "<div id=h></div><script>const s = document.createElement('script'); s.src = 'EDGE/tag.js?key=KEY';"
        "document.getElementById('h').attachShadow({mode: 'open'}).append(s)</script>"
    ),
}


@pytest.mark.parametrize("html", LOADED.values(), ids=LOADED)
def test_it_works_without_attributes(open_page: Open, edge: Edge, html: str) -> None:
    """Each way gives one tag, which sends each event once and under the key."""
    opened = open_page(html)
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("() => { opportune.push(['track', 'One'], ['track', 'Two']) }")
    eventually(lambda: bool(edge.named("Two")), opened)
    opened.wait_for_timeout(150)
    assert len(edge.named("One")) == len(edge.named("Two")) == 1
    assert {body["writeKey"] for body in edge.bodies} == {KEY}
    assert len([each for each in edge.messages if each["type"] == "page"]) == ("pages=off" not in html)


KEYLESS = {
    "no key": '<script async src="EDGE/tag.js"></script>',
    "empty": '<script async src="EDGE/tag.js?key=" data-key=""></script>',
    "init without a key": '<script>(opportune = []).push(["init", {}])</script><script src="EDGE/tag.js"></script>',
    "twice": '<script async src="EDGE/tag.js"></script>' * 2,
    "module": '<script type="module">import "EDGE/tag.js"</script>',
}


@pytest.mark.parametrize("html", KEYLESS.values(), ids=KEYLESS)
def test_without_a_key_it_says_so_once_and_requests_nothing(
    context: BrowserContext, open_page: Open, html: str
) -> None:
    """One plain warning; neither the other parts nor the API are asked, whatever the page calls."""
    asked: list[str] = []
    said: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    context.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened = open_page(f'{html}<button data-event="clicked">Go</button>')
    opened.wait_for_function("() => window.opportune?.track")
    opened.evaluate("() => { opportune.track('One') }")
    opened.click("button")
    opened.wait_for_timeout(3_500)
    assert said == ["warning: Opportune: no key"]
    assert [url for url in asked if "/tag/" in url or "/v1/" in url] == []


ODD = (
    "'x', 7, null, undefined, true, {}, [], [[]], [null], ['no such call'], ['__proto__', 1], ['track'], () => 1, "
    "Symbol()"
)


@pytest.mark.parametrize("early", [True, False], ids=["before the core", "after the core"])
def test_what_is_no_call_stops_nothing(open_page: Open, edge: Edge, early: bool) -> None:
    """Other scripts push what they like. The calls before and after it are made, in order."""
    push = f"opportune.push(['track', 'One'], {ODD}, ['track', 'Two'])"
    script = f"<script>(window.opportune ||= []), {push}</script>" if early else ""
    opened = open_page(f'{script}<script async src="EDGE/tag.js?key=KEY&pages=off"></script>')
    opened.wait_for_function("() => window.opportune?.anonymousId")
    if not early:
        opened.evaluate(f"() => {{ {push} }}")
    eventually(lambda: bool(edge.named("Two")), opened)
    assert [each["event"] for each in edge.messages if each.get("event")] == ["One", "Two"]


def test_calls_may_be_pushed_as_arguments(open_page: Open, edge: Edge) -> None:
    """As with gtag: a function that pushes its `arguments`, which are not an array."""
    opened = open_page(
        "<script>opportune = []; function op() { opportune.push(arguments) } op('init', {key: 'KEY', pages: 'off'});"
        "op('track', 'One')</script><script async src=\"EDGE/tag.js\"></script>"
    )
    eventually(lambda: bool(edge.named("One")), opened)


@pytest.mark.parametrize("sends", [False, True])
def test_cookies_are_sent_only_if_the_site_says_so(open_page: Open, edge: Edge, sends: bool) -> None:
    """A site may prove its visitors by a cookie. The browser lets the page read the response all the same."""
    option = "&credentials=include" if sends else ""
    opened = open_page(f'<script async src="EDGE/tag.js?key=KEY{option}"></script>')
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("() => { document.cookie = 'visitor=proof' }")
    opened.evaluate("() => opportune.track('One')")
    eventually(lambda: bool(edge.named("One")), opened)
    cookies = [each.get("cookies", []) for each in edge.requests if "One" in each["body"]]
    assert cookies == [["visitor=proof"] if sends else []]
    opened.evaluate("() => opportune.track('Two')")
    assert len(edge.named("One")) == len(edge.named("Two")) == 1, "an unread response would be retried"


def test_options_are_taken_from_address_and_init(open_page: Open, edge: Edge) -> None:
    """What attributes say can be said there too."""
    opened = open_page('<script async src="EDGE/tag.js?key=KEY&consent=required"></script>')
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("() => { opportune.track('One') }")
    opened.wait_for_timeout(200)
    assert edge.messages == []
    other = open_page(
        '<script>(opportune = []).push(["init", {key: "KEY", pages: "off"}])</script>'
        '<script async src="EDGE/tag.js"></script>'
    )
    other.wait_for_function("() => window.opportune?.anonymousId")
    other.evaluate("() => { opportune.track('Two') }")
    eventually(lambda: bool(edge.named("Two")), other)
    assert [each["type"] for each in edge.messages] == ["track"]


CONTEXTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "?utm_campaign=spring&utm_source=mail&utm_medium=e&utm_term=t&utm_content=c&x=1",
        {"timezone_id": "Asia/Tokyo", "locale": "de-DE"},
        {
            "campaign": {"name": "spring", "source": "mail", "medium": "e", "term": "t", "content": "c"},
            "timezone": "Asia/Tokyo",
            "locale": "de-DE",
            "device": {"type": "desktop"},
        },
    ),
    (
        "",
        {"user_agent": "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/120 Mobile Safari/537.36", "has_touch": True},
        {"campaign": None, "device": {"type": "mobile"}},
    ),
    (
        "?utm=x",
        {"user_agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/17 Safari/605", "has_touch": True},
        {"campaign": None, "device": {"type": "tablet"}},
    ),
    (
        "?utm___proto__=x&utm_id=7",
        {"user_agent": "Mozilla/5.0 (Linux; Android 14; SM-X710) Chrome/120 Safari/537.36", "has_touch": True},
        {"campaign": {"id": "7"}, "device": {"type": "tablet"}},
    ),
    (
        "",
        {"user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/120 Safari/537.36", "has_touch": True},
        {"device": {"type": "desktop"}},
    ),
]


@pytest.mark.parametrize(("search", "options", "expected"), CONTEXTS)
def test_an_event_has_its_context(
    browser: Browser, edge: Edge, site: Site, search: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Zone, language, kind of device, and the campaign of the address where there is one."""
    visitor = browser.new_context(**options)
    if options.get("has_touch"):
        visitor.add_init_script("Object.defineProperty(Navigator.prototype, 'maxTouchPoints', {get: () => 5})")
    site.pages["/"] = (page_of(edge), {})
    opened = visitor.new_page()
    opened.goto(f"{site.url}/{search}")
    eventually(lambda: bool(edge.messages), opened)
    visitor.close()
    found = edge.messages[0]["context"]
    assert {name: found.get(name) for name in expected} == expected


PRERENDERING = """(() => {
  let prerendering = true;
  Object.defineProperty(Document.prototype, "prerendering", {get: () => prerendering});
  window.activate = () => { prerendering = false; document.dispatchEvent(new Event("prerenderingchange")); };
})()"""


@pytest.mark.parametrize("way", ["address", "module import", "init before", "injected twice"])
def test_a_prerendered_page_sends_nothing_until_it_is_opened(open_page: Open, edge: Edge, way: str) -> None:
    """Calls wait and then count from the moment at which the visitor opens the page."""
    opened = open_page(
        f"<script>{PRERENDERING}</script>{LOADED[way]}<script>opportune = window.opportune || [];"
        "opportune.push(['track', 'Early'])</script>"
    )
    opened.wait_for_function("() => window.opportune?.track")
    opened.evaluate("() => { opportune.track('Seen') }")
    opened.wait_for_timeout(500)
    assert edge.requests == []
    opened.evaluate("() => { window.opened = new Date().toISOString(); window.activate() }")
    eventually(lambda: bool(edge.named("Seen") and edge.named("Early")), opened)
    moment = opened.evaluate("window.opened")
    eventually(lambda: any(each["type"] == "page" for each in edge.messages), opened)
    assert all(each["timestamp"] >= moment for each in edge.messages)
    assert len([each for each in edge.messages if each["type"] == "page"]) == 1


RECIPES = re.findall(r"<!-- recipe: (.+?) -->\n+```(\w+)\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.mark.parametrize(("name", "language", "code"), RECIPES, ids=[each[0] for each in RECIPES])
def test_a_recipe_works_as_its_tag_manager_injects_it(
    open_page: Open, edge: Edge, name: str, language: str, code: str
) -> None:
    """Elements are created by script without attributes other than the address, asynchronously and twice."""
    code = code.replace("wk_demo_public", "KEY").replace("https://events.example.com", "EDGE")
    if language == "html":
        (source,) = re.findall(r'src="(.*?)"', code)
        scripts = re.findall(r"<script>(.*?)</script>", code, flags=re.DOTALL)
        code = "".join(scripts) + INJECT.format(src=source.replace("&amp;", "&"))
    once = f"(() => {{ {code} }})()"
    opened = open_page(f"<body><script>setTimeout(() => {{ {once}; setTimeout(() => {{ {once} }}) }})</script>")
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("() => { opportune.push(['track', 'Added']) }")
    eventually(lambda: bool(edge.named("Added")), opened)
    opened.wait_for_timeout(200)
    assert len(edge.named("Added")) == 1, name
    assert {body["writeKey"] for body in edge.bodies} == {KEY}
    assert len([each for each in edge.messages if each["type"] == "page"]) == 1
