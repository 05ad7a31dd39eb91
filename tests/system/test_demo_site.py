"""The demo site in a real browser: each campaign by hand, with the decision feed beside it."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from opportune.demo.scenario.customers import import_customers
from tests.browser.test_tag_popups import OPEN_ROOTS
from tests.support.whole_system import System


@pytest.fixture(name="visitor")
def _visitor(browser: Browser, system: System) -> Iterator[BrowserContext]:
    import_customers(system.database, "browser")
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.add_init_script(OPEN_ROOTS)
    yield context
    context.close()


@pytest.fixture(name="page")
def _page(visitor: BrowserContext, system: System) -> Iterator[Page]:
    """Open the demo site as a new player."""
    system.database.activations.delete_many({"user": "you"})
    page = visitor.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.goto(f"{system.stack.http_url}/demo/")
    expect(page.locator("#state")).to_have_text("live")
    yield page
    page.close()
    assert failures == []


def press(page: Page, *buttons: str) -> None:
    """Press *buttons* in turn, each after the previous event was decided."""
    for button in buttons:
        before = page.locator("#log li").count()
        page.get_by_role("button", name=button).first.click()
        expect(page.locator("#log li").nth(before)).to_be_attached()


def test_a_vip_sees_the_popup_after_the_third_win(page: Page) -> None:
    """Two wins show progress. The third opens the dialog with name and action, and reports its impression."""
    press(page, "Win", "Win")
    expect(page.get_by_role("progressbar", name="2 of 3")).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()
    press(page, "Win")
    dialog = page.get_by_role("dialog", name="You are on fire, You")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("link", name="Take 50%")).to_have_attribute("href", "/boost")
    log = page.locator("#log")
    expect(log).to_contain_text("popup: You are on fire, You")
    expect(log).to_contain_text("Popup sent")
    expect(log).to_contain_text("Opportune Impression")
    dialog.get_by_role("link", name="Take 50%").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("status")).to_have_text("A real site would now open /boost")
    expect(log).to_contain_text("Opportune Click")


def test_a_guest_sees_nothing(page: Page) -> None:
    """Three wins of a guest, who is in no target group, show no popup."""
    page.get_by_label("You are").select_option("a-guest")
    expect(page.locator("#log")).to_contain_text("identify a-guest")
    press(page, "Win", "Win", "Win")
    expect(page.locator("#standing")).to_contain_text("vip-players")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#log")).not_to_contain_text("popup:")


def test_every_other_campaign_can_be_triggered_by_hand(page: Page) -> None:
    """Cart, cashier and slot machine send messages that appear with their channel; an order cancels the reminder."""
    log = page.locator("#log")
    press(page, "Add to cart", "Order")
    expect(log).to_contain_text("E-mail suppressed (cancelled)", timeout=15_000)
    press(page, "Deposit 1,000", "Hit the jackpot")
    for sent in ("Webhook sent", "Text message sent"):
        expect(log).to_contain_text(sent, timeout=15_000)
    press(page, "Read the small print")
    expect(log).to_contain_text("no live trigger names it")


@pytest.mark.parametrize("width", [1360, 390])
def test_it_is_accessible(page: Page, width: int) -> None:
    """axe-core finds no problem and the page fits its width, on a desktop and on a phone."""
    page.set_viewport_size({"width": width, "height": 844})
    press(page, "Lose")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    found = Axe().run(page)
    assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == []
