"""Chromium, and the sites that its tests visit."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.support.chromium import chromium
from tests.support.tag_site import Edge, Site


@pytest.fixture(name="browser", scope="package")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(name="edge")
def _edge() -> Iterator[Edge]:
    edge = Edge()
    edge.start()
    yield edge
    edge.stop()


@pytest.fixture(name="site")
def _site() -> Iterator[Site]:
    site = Site()
    site.start()
    yield site
    site.stop()


@pytest.fixture(name="context")
def _context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    yield context
    context.close()
