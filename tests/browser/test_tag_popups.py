"""Popups in a real browser: rendered, accessible, closed and reported once, without disturbing the page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, expect

from tests.support.tag_site import Edge, Site, eventually, page

LAYOUTS = ["modal", "banner_top", "banner_bottom", "slide_in", "fullscreen", "inline"]
# Shadow roots are closed, so tests replace them by open ones; one test checks a closed root.
OPEN_ROOTS = """const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (init) { return attach.call(this, {...init, mode: 'open'}) };"""
BODY = (
    '<main><h1>Shop</h1><button id="go" data-event="go">Go</button><input id="field" aria-label="Search">'
    "<div data-opportune-slot></div></main>"
)
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9"><rect width="16" height="9" fill="#639"/></svg>'


def popup(**more: Any) -> dict[str, Any]:
    """Return a popup as the Engager renders it."""
    return {
        "id": "a1",
        "campaign": "three-wins",
        "layout": "modal",
        "title": "You are on fire",
        "body": "Take a boost.",
        "actions": [{"label": "Take 50%", "url": "/boost"}, {"label": "Later", "url": "#later"}],
        **more,
    }


class Visit:
    """A page with the tag. The event ``go`` returns a popup."""

    def __init__(self, context: BrowserContext, edge: Edge, site: Site, **more: Any) -> None:
        self.edge, self.site = edge, site
        self.page = context.new_page()
        self.failures: list[str] = []
        self.paused = False
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("console", lambda said: self.failures.append(said.text) if said.type == "error" else None)
        headers = more.pop("headers", {})
        site.pages["/"] = (page(edge, more.pop("body", BODY), **more), headers)
        site.pages["/picture.svg"] = (PICTURE, {"Content-Type": "image/svg+xml"})
        self.page.goto(site.url)
        self.page.wait_for_function("() => window.opportune?.anonymousId")

    @property
    def host(self) -> Locator:
        """The popup's box."""
        return self.page.locator("opportune-popup")

    def rendering(self) -> None:
        """Wait until the page has loaded the renderer."""
        loaded = "performance.getEntriesByType('resource').some(({name}) => name.endsWith('/render.js'))"
        self.page.wait_for_function(f"() => {loaded}")

    def pause(self) -> None:
        """Stop the page's clock, so that no time passes on a busy machine but what `run` lets pass."""
        self.paused = True
        self.page.clock.install()
        self.page.clock.pause_at(datetime.now(tz=UTC) + timedelta(seconds=1))

    def run(self, ms: int) -> None:
        """Let *ms* pass on the page's stopped clock."""
        self.page.clock.run_for(ms)

    def go(self, **more: Any) -> Locator:
        """Trigger a popup and return its box."""
        self.edge.popups["go"] = popup(**more)
        self.page.evaluate("opportune.track('go')")
        box = self.host.locator(".box")
        expect(box).to_be_visible()
        return box

    def reported(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait for *count* reports of *kind*, and return the last one. A stopped clock moves on by little.

        A report that is sent again counts once, as in the API: when a test lets seconds pass at once, the tag gives up
        a request that the network has not had time to answer.
        """

        def found() -> list[dict[str, Any]]:
            if self.paused:
                self.run(10)
            return list({each["messageId"]: each for each in self.edge.named(f"Opportune {kind}")}.values())

        eventually(lambda: len(found()) >= count, self.page)
        assert len(found()) == count
        return found()[-1]


Go = Callable[..., Visit]


@pytest.fixture(name="visit")
def _visit(context: BrowserContext, edge: Edge, site: Site) -> Go:
    context.add_init_script(OPEN_ROOTS)
    edge.popups["go"] = popup()

    def visit(**more: Any) -> Visit:
        return Visit(context, edge, site, **more)

    return visit


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_painted_and_its_impression_reported(visit: Go, layout: str) -> None:
    """Title, body, image and actions are shown as text. The impression is reported once, with the activation's id."""
    there = visit()
    picture = {"url": "/picture.svg", "alt": "A prize"}
    box = there.go(layout=layout, variant="b", title="<b>Anna</b>", body="One\nTwo", image=picture)
    expect(box.get_by_role("heading")).to_have_text("<b>Anna</b>")
    expect(box.get_by_text("One")).to_be_visible()
    expect(box.get_by_role("img", name="A prize")).to_be_visible()
    expect(box.get_by_role("link")).to_have_count(2)
    impression = there.reported("Impression")
    assert impression["messageId"] == "a1:impression"
    assert impression["properties"] == {"activation": "a1", "campaign": "three-wins", "variant": "b"}
    box.get_by_role("button", name="Close").click()
    expect(there.host).to_have_count(0)
    dismiss = there.reported("Dismiss")
    assert (dismiss["messageId"], dismiss["properties"]["reason"]) == ("a1:dismiss", "close")
    assert there.failures == []


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_layout_has_an_accessibility_violation(visit: Go, layout: str, scheme: Any) -> None:
    """axe-core finds no problem with names, roles, contrast and target sizes, in both colour schemes."""
    there = visit(head="<style>:root{color-scheme:light dark}</style>")
    there.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    there.go(layout=layout, image={"url": "/picture.svg", "alt": "A prize"})
    found = Axe().run(there.page, context="opportune-popup")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found.response["violations"]] == []
    checked = {each["id"] for each in found.response["passes"]}
    assert {"color-contrast", "button-name", "link-name", "image-alt"} <= checked


@pytest.mark.parametrize("layout", ["modal", "fullscreen"])
def test_a_modal_takes_the_focus_and_gives_it_back(visit: Go, layout: str) -> None:
    """The heading gets the focus, Tab stays inside, Esc closes, and the focus returns to the button."""
    there = visit()
    there.page.focus("#go")
    box = there.go(layout=layout)
    expect(box.get_by_role("heading")).to_be_focused()
    expect(there.page.get_by_role("dialog", name="You are on fire")).to_have_accessible_description("Take a boost.")
    focused = "() => document.activeElement.shadowRoot?.activeElement?.textContent ?? document.activeElement.id"
    seen = []
    for _ in range(3):
        there.page.keyboard.press("Tab")
        seen.append(there.page.evaluate(focused))
    assert seen == ["Take 50%", "Later", ""]
    there.page.keyboard.press("Escape")
    expect(there.host).to_have_count(0)
    assert there.page.evaluate(focused) == "go"
    assert there.reported("Dismiss")["properties"]["reason"] == "esc"


@pytest.mark.parametrize("layout", ["banner_top", "banner_bottom", "slide_in", "inline"])
def test_what_is_not_modal_takes_no_focus_and_is_announced(visit: Go, layout: str) -> None:
    """The focus stays in the page. The popup is a named region, is announced, and closes with Esc inside it."""
    there = visit()
    there.page.focus("#field")
    box = there.go(layout=layout)
    expect(there.page.locator("#field")).to_be_focused()
    expect(there.page.get_by_role("region", name="You are on fire")).to_be_visible()
    expect(there.host.get_by_role("status")).to_have_text("You are on fire Take a boost.")
    box.get_by_role("link").first.focus()
    there.page.keyboard.press("Escape")
    expect(there.host).to_have_count(0)
    assert there.reported("Dismiss")["properties"]["reason"] == "esc"


def test_a_click_beside_a_modal_closes_it(visit: Go) -> None:
    """A click beside the modal closes it; a click inside does not."""
    there = visit()
    box = there.go()
    box.get_by_text("Take a boost.").click()
    expect(box).to_be_visible()
    there.page.mouse.click(5, 5)
    expect(there.host).to_have_count(0)
    assert there.reported("Dismiss")["properties"]["reason"] == "backdrop"


def test_a_popup_that_must_be_answered_has_no_close_button(visit: Go) -> None:
    """It has no close button and ignores clicks outside, but Esc still closes it, for accessibility."""
    there = visit()
    box = there.go(close=False)
    expect(box.get_by_role("button")).to_have_count(0)
    there.page.mouse.click(5, 5)
    expect(box).to_be_visible()
    there.page.keyboard.press("Escape")
    expect(there.host).to_have_count(0)


def test_a_click_on_an_action_is_reported_before_the_page_is_gone(visit: Go) -> None:
    """An action is a link. Its report outlives the page, and no dismissal is reported."""
    there = visit()
    box = there.go()
    box.get_by_role("link", name="Take 50%").click()
    there.page.wait_for_url("**/boost")
    click = there.reported("Click")
    assert click["messageId"] == "a1:click:0"
    assert click["properties"] == {"activation": "a1", "campaign": "three-wins", "action": 0, "url": "/boost"}
    there.page.wait_for_timeout(200)
    assert there.edge.named("Opportune Dismiss") == []


def test_a_site_can_follow_an_action_itself(visit: Go) -> None:
    """A single-page application can prevent the default and navigate by itself."""
    there = visit()
    there.page.evaluate(
        """() => document.addEventListener('opportune:click',
            (event) => { event.preventDefault(); window.went = event.detail.url })"""
    )
    there.go().get_by_role("link", name="Take 50%").click()
    expect(there.host).to_have_count(0)
    assert there.page.evaluate("() => [window.went, location.pathname]") == ["/boost", "/"]


def test_a_site_can_paint_popups_itself(visit: Go) -> None:
    """If the site prevents the default of the event, the tag shows nothing."""
    there = visit()
    there.page.evaluate(
        """() => document.addEventListener('opportune:popup',
            (event) => { event.preventDefault(); window.mine = event.detail.title })"""
    )
    there.page.evaluate("opportune.track('go')")
    there.page.wait_for_timeout(300)
    assert there.page.evaluate("() => window.mine") == "You are on fire"
    expect(there.host).to_have_count(0)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", " java\nscript:alert(1)", "vbscript:x"])
def test_an_url_that_runs_code_is_not_painted(visit: Go, url: str) -> None:
    """An invalid popup is not shown, and the report says why."""
    there = visit()
    there.edge.popups["go"] = popup(actions=[{"label": "x", "url": url}])
    there.page.evaluate("opportune.track('go')")
    assert there.reported("Error")["properties"]["reason"] == "unsafe_url"
    expect(there.host).to_have_count(0)


def test_one_popup_after_the_other(visit: Go) -> None:
    """Two simultaneous popups are shown one after the other. An inline popup does not affect them."""
    there = visit()
    there.edge.popups |= {
        "one": popup(id="a1", title="First"),
        "two": popup(id="a2", title="Second", layout="slide_in"),
        "three": popup(id="a3", title="Inside", layout="inline"),
    }
    there.page.evaluate("() => { for (const name of ['one', 'two', 'three']) opportune.track(name) }")
    expect(there.page.get_by_role("heading", name="First")).to_be_visible()
    expect(there.page.get_by_role("heading", name="Second")).to_have_count(0)
    eventually(lambda: any(each["messageId"] == "a1:impression" for each in there.edge.messages), there.page)
    there.page.keyboard.press("Escape")
    expect(there.page.get_by_role("heading", name="Second")).to_be_visible()
    expect(there.host).to_have_count(2)
    there.reported("Impression", 3)


def test_a_popup_waits_for_its_delay_and_not_beyond_its_time(visit: Go) -> None:
    """The delay counts from the response. A popup that expires meanwhile is not shown, whatever the visitor's clock."""
    there = visit()
    hour = 3_600_000
    there.edge.popups["late"] = popup(id="a0", delay=600, at=1000 * hour, expires=1000 * hour + 300)
    there.page.evaluate("opportune.track('late')")
    box = there.go(id="a1", delay=300, at=1000 * hour, expires=1001 * hour)
    expect(box).to_be_visible()
    there.page.wait_for_timeout(600)
    there.page.keyboard.press("Escape")
    there.page.wait_for_timeout(200)
    expect(there.host).to_have_count(0)
    assert [each["properties"]["activation"] for each in there.edge.named("Opportune Impression")] == ["a1"]


def test_a_popup_goes_by_itself_but_not_while_it_is_read(visit: Go) -> None:
    """The time stops while the pointer or the focus is on it."""
    there = visit()
    there.pause()
    box = there.go(layout="slide_in", dismiss_after=3000)
    box.hover()
    there.run(10_000)
    expect(box).to_be_visible()
    there.page.mouse.move(0, 0)
    there.run(2_000)
    expect(box).to_be_visible()
    there.run(2_000)
    expect(there.host).to_have_count(0)
    assert there.reported("Dismiss")["properties"]["reason"] == "auto"


def test_a_modal_does_not_interrupt_typing(visit: Go) -> None:
    """A modal waits until the visitor pauses typing."""
    there = visit()
    there.rendering()
    there.pause()
    there.page.focus("#field")
    there.page.keyboard.type("ab")
    there.page.evaluate("opportune.track('go')")
    there.run(1_000)
    expect(there.host).to_have_count(0)
    there.page.keyboard.type("c")
    there.run(1_000)
    expect(there.host).to_have_count(0)
    there.run(1_000)
    expect(there.host.get_by_role("dialog")).to_be_visible()
    expect(there.page.locator("#field")).to_have_value("abc")


def test_a_popup_waits_for_the_pages_own_dialog(visit: Go) -> None:
    """A modal waits while the page shows one."""
    there = visit(body=BODY + "<dialog id=own>Own</dialog>")
    there.page.evaluate("document.getElementById('own').showModal()")
    there.page.evaluate("opportune.track('go')")
    there.page.wait_for_timeout(500)
    expect(there.host).to_have_count(0)
    there.page.evaluate("document.getElementById('own').close()")
    expect(there.host.get_by_role("dialog")).to_be_visible()


def test_going_back_closes_a_modal(visit: Go) -> None:
    """On a phone, the back button closes a popup."""
    there = visit()
    there.page.evaluate("() => history.pushState({}, '', '/next')")
    there.go()
    there.page.go_back()
    expect(there.host).to_have_count(0)
    assert there.reported("Dismiss")["properties"]["reason"] == "navigation"


def test_two_tabs_show_a_popup_once(visit: Go, context: BrowserContext, edge: Edge, site: Site) -> None:
    """If both tabs receive the same activation, simultaneously or later, only one shows it."""
    first, second = visit(), visit()
    call = "() => { setTimeout(() => opportune.track('go'), 100 - Date.now() % 100) }"
    first.page.evaluate(call)
    second.page.evaluate(call)
    eventually(lambda: len(edge.named("go")) == 2, first.page)
    eventually(lambda: first.host.count() + second.host.count() == 1, first.page)
    first.page.wait_for_timeout(500)
    assert first.host.count() + second.host.count() == 1
    eventually(lambda: bool(edge.named("Opportune Impression")), first.page)
    shown = first if first.host.count() else second
    shown.page.keyboard.press("Escape")
    expect(shown.host).to_have_count(0)
    first.page.evaluate("opportune.track('go')")
    first.page.wait_for_timeout(400)
    assert first.host.count() + second.host.count() == 0
    assert len(edge.named("Opportune Impression")) == 1


def test_the_inline_slot_of_a_campaign(visit: Go) -> None:
    """A campaign's own slot has priority. Without any slot, the error says so."""
    there = visit(body='<div data-opportune-slot="three-wins" id="own"></div>')
    there.go(layout="inline")
    assert there.page.locator("#own opportune-popup").count() == 1
    other = visit(body="<p>No slot</p>")
    other.edge.popups["go"] = popup(id="a2", layout="inline")
    other.page.evaluate("opportune.track('go')")
    assert other.reported("Error")["properties"]["reason"] == "no_slot"


def test_html_of_a_popup_runs_nothing_and_is_as_high_as_its_content(visit: Go) -> None:
    """HTML is in a frame without scripts. The tag styles and sizes it, and reports and follows its links."""
    there = visit()
    html = (
        '<p id="red" style="color:#c00000">Hello <b>Anna</b></p><div style="height:200px"></div>'
        '<p><a href="/terms">Terms</a></p><script>parent.document.title = "stolen"</script>'
        '<img src="x" onerror="parent.document.title = \'stolen\'" alt="">'
    )
    box = there.go(body="", html=html, actions=[])
    frame = there.host.frame_locator("iframe")
    expect(frame.get_by_text("Hello Anna")).to_be_visible()
    assert frame.locator("#red").evaluate("element => getComputedStyle(element).color") == "rgb(192, 0, 0)"
    expect(box.locator("iframe")).to_have_attribute("title", "You are on fire")
    eventually(lambda: (box.locator("iframe").bounding_box() or {"height": 0})["height"] > 250, there.page)
    there.page.keyboard.press("Tab")
    frame.get_by_role("link", name="Terms").click()
    there.page.wait_for_url("**/terms")
    assert there.reported("Click")["properties"]["action"] == "html0"
    assert there.page.title() != "stolen"


STRICT = "default-src 'self'; script-src 'nonce-r4nd0m'; connect-src {edge}; base-uri 'none'; object-src 'none'"
HOSTILE = """<script>parent.hit = 1</script><img src="x" onerror="parent.hit = 1" alt="">
<svg onload="parent.hit = 1"></svg><iframe srcdoc="<script>top.hit = 1</script>"></iframe>
<object data="javascript:parent.hit = 1"></object>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=parent.hit=1&gt;"></table></math>
<svg></p><style><a id="</style><img src=1 onerror=parent.hit=1>"></style></svg>
<noscript><p title="</noscript><img src=x onerror=parent.hit=1>"></noscript>
<details open ontoggle="parent.hit = 1">x</details><meta http-equiv="refresh" content="0;url=javascript:parent.hit=1">
<p onclick="parent.hit = 1"><a id="link" href=" java&#10;script:parent.hit = 1">Link</a></p>"""


@pytest.mark.parametrize("trusted", [False, True])
def test_html_that_nobody_has_sanitised_runs_nothing_either(visit: Go, edge: Edge, trusted: bool) -> None:
    """The frame is the second line of defence: even without sanitising, no script or script link runs."""
    policy = STRICT + "; require-trusted-types-for 'script'; trusted-types opportune"
    more = {"headers": {"Content-Security-Policy": policy.format(edge=edge.url)}, "nonce": "r4nd0m"} if trusted else {}
    there = visit(**more)
    there.go(body="", html=HOSTILE, actions=[])
    there.host.frame_locator("iframe").first.locator("#link").dispatch_event("click")
    there.page.wait_for_timeout(300)
    assert there.page.evaluate("() => [window.hit, location.pathname]") == [None, "/"]


def test_esc_inside_the_frame_closes_the_popup(visit: Go) -> None:
    """The frame with the focus gets the key and passes it to the popup."""
    there = visit()
    there.go(body="", html='<p><a href="/terms">Terms</a></p>', actions=[])
    there.host.frame_locator("iframe").get_by_role("link").focus()
    there.page.keyboard.press("Escape")
    expect(there.host).to_have_count(0)


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(STRICT, id="nonce"),
        pytest.param(STRICT + "; require-trusted-types-for 'script'; trusted-types 'none'", id="trusted types"),
        pytest.param("default-src 'self'; script-src {edge}; connect-src {edge}", id="our host"),
        pytest.param(
            "default-src 'self'; script-src 'nonce-r4nd0m' 'strict-dynamic'; connect-src {edge}", id="dynamic"
        ),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_strict_policy_lets_every_layout_pass(
    context: BrowserContext, edge: Edge, site: Site, policy: str, layout: str
) -> None:
    """Nothing is injected, so nothing is blocked: no violation, the sheet applies, and the root is closed."""
    edge.popups["go"] = popup(layout=layout)
    headers = {"Content-Security-Policy": policy.format(edge=edge.url)}
    there = Visit(context, edge, site, headers=headers, nonce="r4nd0m")
    there.page.evaluate(
        "() => { window.blocked = []; document.addEventListener('securitypolicyviolation', "
        "(event) => window.blocked.push(event.violatedDirective)) }"
    )
    there.page.evaluate("() => { opportune.track('go') }")
    there.reported("Impression")
    assert there.page.evaluate("() => document.querySelector('opportune-popup').shadowRoot") is None
    assert there.page.evaluate("() => window.blocked") == []
    assert there.failures == []


def test_html_under_a_strict_policy(visit: Go, edge: Edge) -> None:
    """With one Trusted Types policy allowed, it is rendered, and styled even if style attributes are forbidden."""
    policy = STRICT + "; require-trusted-types-for 'script'; trusted-types opportune"
    headers = {"Content-Security-Policy": policy.format(edge=edge.url)}
    there = visit(headers=headers, nonce="r4nd0m")
    there.go(body="", html='<p id="red" style="color:#c00000">Hello</p>', actions=[])
    red = there.host.frame_locator("iframe").locator("#red")
    expect(red).to_be_visible()
    expect(red).to_have_css("color", "rgb(192, 0, 0)")


def test_a_theme_dresses_it_and_stays_readable(visit: Go) -> None:
    """The accent is the first button's background, and its label has the higher contrast. The scheme is set."""
    there = visit()
    box = there.go(theme={"accent": "#ffd166", "scheme": "dark"})
    first = box.get_by_role("link").first
    expect(first).to_have_css("background-color", "rgb(255, 209, 102)")
    expect(first).to_have_css("color", "rgb(0, 0, 0)")
    expect(box).to_have_css("background-color", "rgb(28, 30, 38)")
    there.page.keyboard.press("Escape")
    box = there.go(id="a2", theme={"accent": "#7c2d12"})
    expect(box.get_by_role("link").first).to_have_css("color", "rgb(255, 255, 255)")
    expect(box).to_have_css("background-color", "rgb(255, 255, 255)")


def test_the_page_does_not_restyle_it(visit: Go) -> None:
    """The page's styles do not affect it, and its own do not leak out."""
    loud = (
        "<style>*{color:red!important;font-size:40px!important;text-transform:uppercase}html{font-size:62.5%}</style>"
    )
    there = visit(head=loud)
    heading = there.go().get_by_role("heading")
    expect(heading).to_have_css("font-size", "24px")
    expect(heading).to_have_css("color", "rgb(21, 23, 28)")
    expect(heading).to_have_css("text-transform", "none")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_fits_a_small_phone(visit: Go, layout: str) -> None:
    """At 320 px, with long words and many actions, nothing overflows, and the close button is reachable."""
    there = visit()
    there.page.set_viewport_size({"width": 320, "height": 480})
    actions = [{"label": f"A rather long action {n}", "url": "/x"} for n in range(5)]
    box = there.go(
        layout=layout, title="Donaudampfschifffahrtsgesellschaftskapitän", body="word " * 120, actions=actions
    )
    box.evaluate("element => Promise.all(element.getRootNode().getAnimations().map(each => each.finished))")
    bounds = box.bounding_box()
    assert bounds is not None
    assert bounds["x"] >= 0
    assert bounds["x"] + bounds["width"] <= 320
    if layout != "inline":
        assert bounds["y"] >= 0
        assert bounds["y"] + bounds["height"] <= 480
    assert box.evaluate("element => element.scrollWidth <= element.clientWidth")
    box.get_by_role("button").click()
    expect(there.host).to_have_count(0)
