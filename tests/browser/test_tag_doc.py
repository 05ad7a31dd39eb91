"""The snippets in docs/tag.md work in a real browser, under the policy that it names."""

import re

import pytest
from playwright.sync_api import BrowserContext

from tests.support.paths import ROOT
from tests.support.tag_site import KEY, Edge, Site, eventually

DOCUMENT = ROOT / "docs" / "tag.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
HTML = re.findall(r"```html\n(.*?)```", TEXT, flags=re.DOTALL)
HOST, DEMO_KEY = "https://events.example.com", "wk_demo_public"
SCRIPT = HTML[0]


def test_it_names_every_attribute_and_call() -> None:
    """The tables list every attribute that the sources read and every function that they offer."""
    root = DOCUMENT.parents[1] / "web" / "tag"
    sources = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.js"))
    attributes = set(re.findall(r"tag\.options\.([a-z]+)", sources))
    assert attributes == set(re.findall(r"^\| `data-([a-z]+)", TEXT, flags=re.MULTILINE))
    (listed,) = re.findall(r"for \(const name of (\[.*?\])\)\n", (root / "loader.js").read_text(encoding="utf-8"))
    assert set(re.findall(r'"([a-z]+)"', listed)) == set(re.findall(r"^\| `opportune\.([a-z]+)\(", TEXT, re.MULTILINE))


@pytest.mark.parametrize("place", range(1, len(HTML)))
def test_a_snippet_works(context: BrowserContext, edge: Edge, site: Site, place: int) -> None:
    """They run beside the tag, under the document's policy with a nonce for the page's scripts."""
    (policy,) = re.findall(r"```csp\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = "; ".join(["default-src 'self'", "style-src 'nonce-n'", *policy.strip().splitlines()])
    lines = lines.replace("script-src", "script-src 'nonce-n'")
    snippet = HTML[place] if HTML[place].startswith("<script async") else SCRIPT + HTML[place]
    html = f'<!doctype html><html lang="en"><title>x</title>{snippet}<a href="#x" data-event="checked">x</a>'
    html = html.replace("<script>", '<script nonce="n">').replace("<style>", '<style nonce="n">')
    html = html.replace(DEMO_KEY, KEY).replace(HOST, edge.url)
    site.pages["/"] = (html, {"Content-Security-Policy": lines.replace(HOST, edge.url)})
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda said: failures.append(said.text) if said.type in ("error", "warning") else None)
    page.goto(site.url)
    page.wait_for_function("() => window.opportune?.anonymousId")
    for button in page.locator("[data-event]:not([data-event-on])").all():
        button.click()
    eventually(lambda: bool(edge.named("checked")), page)
    for named in re.findall(r'"track", "(\w+)"|<button data-event="(\w+)"', snippet):
        assert edge.named("".join(named)), named
    assert failures == []
