"""The tag beside the real analytics.js from its package, in a real browser.

The class of faults: the tag takes the library for what it is only later. The snippet puts a queue in its place, which
has the methods but not the user. The library from npm returns promises. Either may be there before the tag or after it.
"""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.support.tag_site import KEY, Edge, Site, eventually

PACKAGE = "@segment/analytics-next@1.84.3"
INTEGRITY = "sha512-5l7cPBzScxhfJ0zdcKQI4daDvMIWWUk7hClT1xGRelnHUltIEoQ9w8+ZpFPoWJMpX8D7IA1nVAfJbpiKi3XaKw=="
CDN = "https://cdn.segment.test"
# What the library's own snippet does: a queue with the library's methods, and the script after it.
SNIPPET = f"""<script>!function(){{
  const a = window.analytics = window.analytics || [];
  a.invoked = true; a._writeKey = "segment"; a._cdn = "{CDN}"; a.SNIPPET_VERSION = "5.2.1";
  for (const m of ["trackSubmit", "trackClick", "identify", "reset", "group", "track", "ready", "alias", "page", "once",
    "off", "on", "setAnonymousId", "user"]) a[m] = (...said) => {{ a.push([m, ...said]); return a; }};
  const s = document.createElement("script"); s.async = true; s.src = "{CDN}/analytics.js/v1/segment/analytics.min.js";
  document.head.append(s);
  analytics.page("Home"); analytics.identify("anna", {{tier: "vip"}}); analytics.track("Early", {{sku: "X1"}});
}}()</script>"""
NPM = f"""<script src="{CDN}/npm.js"></script><script>
  window.analytics = AnalyticsNext.AnalyticsBrowser.load({{writeKey: "segment", cdnURL: "{CDN}"}});
  analytics.page("Home"); analytics.identify("anna", {{tier: "vip"}}); analytics.track("Early", {{sku: "X1"}});
</script>"""
TAG = '<script async src="{url}/tag.js?key={key}&follow=analytics"></script>'


@pytest.fixture(name="library", scope="module")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the library's bundles; its content is that of the pinned hash."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on PATH: apt-get install npm")
    folder = tmp_path_factory.mktemp("library")
    command = ["npm", "pack", "--json", PACKAGE]
    for _ in range(2):  # a download may fail once
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    (packed,) = json.loads(done.stdout)
    assert packed["integrity"] == INTEGRITY
    with tarfile.open(folder / packed["filename"]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "dist" / "umd"


Open = Callable[..., Page]


@pytest.fixture(name="open_page")
def _open_page(context: BrowserContext, edge: Edge, site: Site, library: Path) -> Open:
    """Return a function that opens a page, and keeps what goes wrong in its ``failures``.

    ``tag_first``: the library gets its settings, which it waits for, once the tag is there.
    """
    headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
    files = {"analytics.min.js": "standalone.js", "npm.js": "index.js"}

    asked: list[Route] = []
    is_held = [False]

    def release() -> None:
        settings = {"integrations": {"Segment.io": {"apiKey": "segment"}}, "metrics": {"sampleRate": 0}}
        while asked:
            asked.pop().fulfill(json=settings, headers=headers)

    def answer(route: Route) -> None:
        name = route.request.url.partition("?")[0].rpartition("/")[2]
        if name in files or (library / name).is_file():
            route.fulfill(path=library / files.get(name, name), headers=headers, content_type="text/javascript")
        elif name == "settings":
            asked.append(route)
            if not is_held[0]:
                release()
        else:
            route.fulfill(json={"success": True}, headers=headers)

    context.route("https://cdn.segment.test/**", answer)
    context.route("https://api.segment.io/**", answer)

    def open_page(html: str, failures: list[str], *, tag_first: bool = False) -> Page:
        site.pages["/"] = (f'<!doctype html><html lang="en"><title>A page</title>{html}', {})
        opened = context.new_page()
        opened.on("pageerror", lambda error: failures.append(str(error)))
        is_held[0] = tag_first
        opened.goto(site.url)
        if tag_first:
            opened.wait_for_function("() => window.opportune?.anonymousId")
            is_held[0] = False
            release()
        return opened

    return open_page


def tag(edge: Edge) -> str:
    """Return the tag's script element."""
    return TAG.format(url=edge.url, key=KEY)


def identity(opened: Page) -> Any:
    """Return the library's own anonymous id."""
    opened.wait_for_function("() => window.analytics?.user")
    return opened.evaluate("async () => (await window.analytics.user()).anonymousId()")


@pytest.mark.parametrize("library_first", [True, False])
@pytest.mark.parametrize("snippet", [SNIPPET, NPM], ids=["snippet", "npm"])
def test_what_the_library_says_is_said_here(open_page: Open, edge: Edge, snippet: str, library_first: bool) -> None:
    """Page view, identity and event arrive once, with the library's anonymous id and user."""
    failures: list[str] = []
    opened = open_page(snippet + tag(edge) if library_first else tag(edge) + snippet, failures, tag_first=True)
    eventually(lambda: bool(edge.named("Early")) and len(edge.messages) >= 3, opened)
    opened.evaluate("() => { analytics.track('Later') }")
    eventually(lambda: bool(edge.named("Later")), opened)
    assert sorted(each["type"] for each in edge.messages) == ["identify", "page", "track", "track"]
    assert {each["anonymousId"] for each in edge.messages} == {identity(opened)}
    assert edge.named("Later")[0]["userId"] == "anna"
    assert edge.named("Early")[0]["properties"]["sku"] == "X1"
    assert failures == []


@pytest.mark.parametrize("snippet", [SNIPPET, NPM], ids=["snippet", "npm"])
def test_a_tag_that_comes_after_the_library_takes_over_what_it_knows(open_page: Open, edge: Edge, snippet: str) -> None:
    """Its calls are over, so the tag reports the current page, and the user with the traits."""
    failures: list[str] = []
    opened = open_page(snippet, failures)
    opened.wait_for_function("() => window.analytics.initialized || window.analytics.instance?.initialized")
    opened.wait_for_timeout(500)
    opened.add_script_tag(url=f"{edge.url}/tag.js?key={KEY}&follow=analytics")
    eventually(lambda: len(edge.messages) >= 2, opened)
    opened.evaluate("() => { analytics.track('Later'); opportune.track('Ours') }")
    eventually(lambda: bool(edge.named("Later") and edge.named("Ours")), opened)
    assert sorted(each["type"] for each in edge.messages) == ["identify", "page", "track", "track"]
    (known,) = [each for each in edge.messages if each["type"] == "identify"]
    assert (known["userId"], known["traits"]) == ("anna", {"tier": "vip"})
    assert {each["anonymousId"] for each in edge.messages} == {identity(opened)}
    assert {each.get("userId") for each in edge.named("Later") + edge.named("Ours")} == {"anna"}
    assert failures == []


def test_a_known_user_is_known_on_the_next_page(open_page: Open, edge: Edge) -> None:
    """The library remembers the user; the next page does not call identify. A reset of the library is one here."""
    failures: list[str] = []
    opened = open_page(SNIPPET + tag(edge), failures, tag_first=True)
    eventually(lambda: bool(edge.named("Early")) and len(edge.messages) >= 3, opened)
    before = identity(opened)
    opened.evaluate(
        "(key) => { Object.keys(localStorage).forEach((k) => k.includes('opportune') && localStorage.removeItem(k)) }"
    )
    silent = SNIPPET.replace('analytics.identify("anna", {tier: "vip"});', "")
    opened = open_page(f'<button data-event="clicked">Go</button>{tag(edge)}{silent}', failures)
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.click("button")
    eventually(lambda: bool(edge.named("clicked")), opened)
    (clicked,) = edge.named("clicked")
    assert (clicked["userId"], clicked["anonymousId"]) == ("anna", before)
    opened.evaluate("() => { analytics.reset() }")
    opened.wait_for_timeout(100)
    opened.click("button")
    eventually(lambda: len(edge.named("clicked")) == 2, opened)
    assert edge.named("clicked")[1].get("userId") is None
    assert edge.named("clicked")[1]["anonymousId"] == identity(opened) != before
    assert failures == []
