"""A page that Chromium really prerenders, because of speculation rules.

The browser is started without a debugger, because under one it does not keep a prerendered page. So the pages act by
themselves.
"""

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.tag_site import KEY, Edge, Site

URLS = '{"prerender": [{"urls": ["/next", "/never"], "eagerness": "immediate"}]}'
RULES = f'<script type="speculationrules">{URLS}</script>'
CALL = "<script>const was = document.prerendering; onload = () => opportune.track('Opened', {was})</script>"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
WAIT_S = 3


def test_a_prerendered_page_sends_nothing_until_it_is_opened(edge: Edge, site: Site, tmp_path: Path) -> None:
    """Then its page view and its calls are sent, once. A page that is never opened sends nothing."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if program is None:
        pytest.skip("Chromium is not on PATH: apt-get install chromium")
    tag = f'<script src="{edge.url}/tag.js?key={KEY}"></script>'
    site.pages["/next"] = site.pages["/never"] = (f"<!doctype html><title>Next</title>{tag}{CALL}", {})
    opening = f"<script>setTimeout(() => location.href = '/next', {WAIT_S * 1000})</script>"
    site.pages["/"] = (f"<!doctype html><title>Start</title>{RULES}{opening}", {})
    started = time.monotonic()
    with subprocess.Popen(
        [program, *OPTIONS, f"--user-data-dir={tmp_path}", site.url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as browser:
        try:
            while len(edge.messages) < 2 and time.monotonic() < started + 60:
                time.sleep(0.05)
            took = time.monotonic() - started
            time.sleep(0.5)
        finally:
            browser.kill()
    assert took > WAIT_S
    assert [each["properties"]["was"] for each in edge.named("Opened")] == [True], "the page was not prerendered"
    assert sorted(each["type"] for each in edge.messages) == ["page", "track"]
    assert {each["context"]["page"]["path"] for each in edge.messages} == {"/next"}
