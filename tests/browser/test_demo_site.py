"""The demo site in a real browser: three clicks and the popup is there."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.system.whole import System


@pytest.fixture(name="page")
def _page(browser: Browser, system: System) -> Iterator[Page]:
    page = browser.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.goto(f"{system.stack.http_url}/demo/")
    yield page
    page.close()
    assert failures == []


def test_a_vip_sees_the_popup_after_the_third_win(page: Page) -> None:
    """Two wins: nothing. The third: the dialog, with his name and the action; Close takes it away."""
    win = page.get_by_role("button", name="Win")
    for sent in (1, 2):
        win.click()
        expect(page.locator("#log tr")).to_have_count(sent)
        expect(page.get_by_role("dialog")).to_be_hidden()
    win.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("heading")).to_have_text("You are on fire, you")
    expect(dialog.get_by_role("link", name="Take 50%")).to_have_attribute("href", "/boost")
    expect(page.locator("#log tr").first).to_contain_text("a popup")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_a_guest_sees_nothing(page: Page) -> None:
    """The same three wins of somebody in no target group."""
    page.get_by_label("You are").select_option("a-guest")
    for sent in (1, 2, 3):
        page.get_by_role("button", name="Win").click()
        expect(page.locator("#log tr")).to_have_count(sent)
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#log")).not_to_contain_text("a popup")
