"""The outbox in a real browser: isolated e-mails, new messages without a reload, no external requests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from opportune.local import outbox_page
from opportune.local.accepted import Accepted
from opportune.local.http_server import HttpServer, Request, Response

NOON = 1_798_200_000_000  # 2026-12-25 12:00:00 UTC
MAIL = Accepted(
    NOON,
    "email",
    ["grace@player.example"],
    id="0100-1",
    activation="9f2c41d07a5be3c8",
    sender="Casino <hello@casino.example>",
    subject="Grace, your bonus is here",
    text="Grace, your bonus is here: https://casino.example/bonus",
    html="""<!doctype html><body style="font:16px sans-serif;padding:24px;background:#fff7ed">
    <h1 style="font-size:22px">Thank you, Grace</h1><p>A bonus of 10 &euro; waits for you.</p>
    <p><a href="/unsubscribe/token" id="link">Unsubscribe</a></p><img src="/pixel.png" alt="">
    <script>parent.document.title = "stolen"; document.body.id = "ran"</script></body>""",
    headers={"From": "Casino <hello@casino.example>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
)
TEXT = Accepted(NOON + 1000, "sms", ["+14155550100"], text="<b>Your table</b> is free now.", activation="51aa07c2")
PUSH = Accepted(
    NOON + 2000,
    "push",
    ["arn:aws:sns:eu-central-1:123456789012:endpoint/GCM/opportune/3f0d"],
    subject="Still hungry?",
    text="Your cart waits for you.",
    payload='{"default": "Your cart waits for you."}',
)
WEBHOOK = Accepted(
    NOON + 3000,
    "webhook",
    ["https://crm.example/hooks/opportune"],
    activation="c0ffee",
    text='{"user": "grace", "campaign": "thank-you"}',
    headers={"idempotency-key": "c0ffee", "opportune-signature": "t=1798200003,v1=2b9a1f60c4d87e35"},
)


class Front:
    """A server of the page, with its messages and the requested paths."""

    def __init__(self) -> None:
        self.messages = [MAIL, TEXT, PUSH, WEBHOOK]
        self.asked: list[str] = []
        pages = outbox_page.pages(lambda: list(self.messages), speed=60)

        def answer(request: Request) -> Response:
            self.asked.append(request.target)
            page = pages.get(request.target)
            return page(request) if page else Response(200, b"elsewhere", [("Content-Type", "text/plain")])

        self.server = HttpServer(answer, port=None, max_body=1000, too_large=Response(413), failed=Response(500))


@pytest.fixture(name="front")
def _front() -> Iterator[Front]:
    front = Front()
    front.server.start()
    yield front
    front.server.stop()


@pytest.fixture(name="page")
def _page(browser: Browser, front: Front) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme="light")
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{front.server.url}/outbox")
    yield page
    page.close()
    assert failures == []
    assert set(front.asked) <= {"/outbox", "/unsubscribe/token", "/favicon.ico"}


def test_it_shows_every_channel(page: Page) -> None:
    """The newest is first. Each message has recipient, text and activation. The page states the clock's speed."""
    articles = page.get_by_role("article")
    expect(articles).to_have_count(4)
    assert [articles.nth(n).get_attribute("aria-label") for n in range(4)] == [
        "Webhook",
        "Push",
        "Text message",
        "E-mail",
    ]
    expect(articles.nth(0)).to_contain_text("https://crm.example/hooks/opportune")
    expect(articles.nth(0)).to_contain_text('"campaign": "thank-you"')
    articles.nth(0).get_by_text("Headers").click()
    expect(articles.nth(0)).to_contain_text("t=1798200003,v1=2b9a1f60c4d87e35")
    expect(articles.nth(1)).to_contain_text("Still hungry?")
    expect(articles.nth(2).locator(".words")).to_have_text("<b>Your table</b> is free now.")
    expect(articles.nth(3)).to_contain_text("activation 9f2c41d07a5be3c8")
    expect(page.locator("header")).to_contain_text("60 times as fast as yours")
    expect(page.get_by_role("status")).to_have_text("4 messages")


def test_a_mail_stays_in_its_frame(page: Page, front: Front) -> None:
    """The e-mail is styled, but runs no script and loads nothing. A link opens a new tab."""
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading")).to_have_text("Thank you, Grace")
    assert frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor") == "rgb(255, 247, 237)"
    assert frame.locator("body").evaluate("() => document.compatMode") == "CSS1Compat"
    assert frame.locator("#ran").count() == 0
    assert page.title() == "Outbox – Opportune"
    assert "/pixel.png" not in front.asked
    with page.expect_popup() as popup:
        frame.get_by_role("link").click()
    popup.value.wait_for_load_state()
    assert popup.value.url == f"{front.server.url}/unsubscribe/token"
    popup.value.close()


def test_new_messages_come_by_themselves(page: Page, front: Front) -> None:
    """New messages appear on top without a reload, so opened details stay open."""
    details = page.get_by_role("article", name="Webhook").locator("details").last
    details.locator("summary").click()
    front.messages.append(Accepted(NOON + 9000, "sms", ["+14155550199"], text="And one more."))
    articles = page.get_by_role("article")
    expect(articles).to_have_count(5)
    expect(articles.first).to_contain_text("And one more.")
    expect(page.get_by_role("status")).to_have_text("5 messages")
    assert details.evaluate("details => details.open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_suits_narrow_screens_and_both_schemes(page: Page, scheme: str) -> None:
    """The page fits a phone's width, and all text has a contrast of 4.5 or more."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    contrast = """element => {
      const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
          .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      let ground = element;
      while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
      const pair = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)];
      return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    }"""
    for selector in (".channel", ".to", "time", "h2", ".quiet", ".words", "summary"):
        for element in page.locator(selector).all():
            assert element.evaluate(contrast) >= 4.5, selector
