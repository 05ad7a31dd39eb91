"""Popups that the page hides, covers or removes, in a real browser.

The class of faults: the page does something to the popup that the tag did not ask for.

- It removes the popup, alone or with the whole body: the popup is dismissed as ``removed``, and the next one is shown.
- Something hides it: no impression; after five seconds an error that says what, and the next one is shown.
- The page itself is not visible yet, or the visitor looks at something else: the popup waits.
- It looks odd but can be read: an impression.
"""

from itertools import cycle

import pytest
from playwright.sync_api import expect

from tests.browser.test_tag_popups import BODY, Go, Visit, _visit, popup
from tests.support.tag_site import eventually

__all__ = ["_visit"]

LAYOUTS = ["modal", "banner_top", "inline"]
COVER = "const e = Object.assign(document.createElement('div'), {id: 'cover'}); document.body.append(e);"
FULL = "position:fixed;inset:0;z-index:2147483647;background:#fff"
HOST = "document.querySelector('opportune-popup')"
SHOW_NEXT = {"id": "a2", "campaign": "next", "layout": "modal", "title": "Next", "body": "", "actions": []}


def appear(there: Visit, layout: str, act: str = "() => {}") -> None:
    """Show a popup on a stopped clock, and run *act* before the tag has looked at it."""
    there.rendering()
    there.pause()
    there.go(layout=layout)
    there.page.evaluate(act)


def settle(there: Visit, ms: int) -> None:
    """Let *ms* pass, after what the browser has to say about visibility has arrived."""
    for _ in range(3):
        there.page.wait_for_timeout(150)
        there.run(100)
    there.run(ms)
    there.page.wait_for_timeout(100)


def assert_next_is_shown(there: Visit) -> None:
    """Trigger another popup, and expect to see it."""
    there.edge.popups["next"] = SHOW_NEXT
    there.page.evaluate("opportune.track('next')")
    if there.paused:
        there.run(1_000)
    expect(there.page.get_by_role("heading", name="Next")).to_be_visible()


REMOVALS = {
    "turbo replaces the body": "document.body.replaceWith(document.createElement('body'))",
    "htmx swaps the content": "document.body.innerHTML = '<main>New</main>'",
    "react removes the host": f"{HOST}.remove()",
    "a framework replaces the host": f"{HOST}.replaceWith(document.createElement('p'))",
    "another document element": "document.body.parentElement.replaceChildren(document.createElement('body'))",
    "its place is emptied": f"{HOST}.parentElement.replaceChildren()",
}


@pytest.mark.parametrize(("layout", "act"), [*zip(cycle(LAYOUTS), REMOVALS.values(), strict=False)], ids=REMOVALS)
def test_what_the_page_removes_is_dismissed(visit: Go, layout: str, act: str) -> None:
    """The dismissal says so, there is no impression for what was not seen, and the next popup is shown."""
    there = visit()
    appear(there, layout, f"() => {{ {act} }}")
    assert there.reported("Dismiss")["properties"]["reason"] == "removed"
    assert there.edge.named("Opportune Impression") == []
    assert_next_is_shown(there)
    assert there.failures == []


HIDDEN = {
    "covered": (f"{COVER} e.style = '{FULL}'", "obscured"),
    "covered, and clicks pass": (
        f"{COVER} e.style = '{FULL};pointer-events:none'",
        "obscured",
    ),
    "covered by a popover": (
        f"{COVER} e.popover = 'manual'; e.style = '{FULL};width:100%;height:100%'; e.showPopover()",
        "obscured",
    ),
    "covered by a shadow root": (
        f"{COVER} e.attachShadow({{mode: 'open'}}).innerHTML = `<div style='{FULL}'></div>`",
        "obscured",
    ),
    "not displayed": (f"{HOST}.style.setProperty('display', 'none', 'important')", "not_displayed"),
    "hidden": (f"{HOST}.style.visibility = 'hidden'; BOX.style.visibility = 'inherit'", "not_displayed"),
    "transparent": ("BOX.style.opacity = 0", "not_displayed"),
    "a box without a size": ("BOX.style.cssText = 'width:0;height:0;min-height:0;padding:0'", "not_displayed"),
    "clipped": ("BOX.style.clipPath = 'inset(50%)'", "out_of_view"),
    "moved out of the window": ("BOX.style.cssText = 'animation:none;transform:translateX(-300vw)'", "out_of_view"),
    "scaled to nothing": ("BOX.style.cssText = 'animation:none;transform:scale(0)'", "not_displayed"),
    "filtered away": ("BOX.style.filter = 'opacity(0)'", "obscured"),
}


@pytest.mark.parametrize(
    ("layout", "hidden"), [*zip(cycle(["slide_in", "modal", "fullscreen"]), HIDDEN.values(), strict=False)], ids=HIDDEN
)
def test_what_cannot_be_seen_is_an_error(visit: Go, layout: str, hidden: tuple[str, str]) -> None:
    """There is no impression, and one error with the reason. The popup is gone, so that the next one can be shown."""
    act, reason = hidden
    if layout != "slide_in" and "inset:0" in act and "showPopover" not in act:
        act += "; e.popover = 'manual'; e.style.cssText += ';width:100%;height:100%'; e.showPopover()"
    there = visit()
    appear(there, layout, f"() => {{ {act.replace('BOX', HOST + '.shadowRoot.querySelector(`.box`)')} }}")
    settle(there, 4_000)
    assert there.edge.named("Opportune Error") == []
    settle(there, 2_000)
    assert there.reported("Error")["properties"]["reason"] == reason
    assert there.edge.named("Opportune Impression") == there.edge.named("Opportune Dismiss") == []
    expect(there.host).to_have_count(0)
    there.page.evaluate("document.getElementById('cover')?.remove()")
    assert_next_is_shown(there)


WAITS = {
    "body hidden": ("document.body.style.display = 'none'", "document.body.style.display = ''"),
    "page transparent": ("document.documentElement.style.opacity = 0", "document.documentElement.style.opacity = ''"),
    "body invisible": ("document.body.style.visibility = 'hidden'", "document.body.style.visibility = ''"),
}


@pytest.mark.parametrize(("layout", "page"), [*zip(LAYOUTS, WAITS.values(), strict=True)], ids=WAITS)
def test_a_page_that_is_not_visible_yet_delays_the_popup(visit: Go, layout: str, page: tuple[str, str]) -> None:
    """A script of an experiment hides the page for a while: no error, and the impression follows when it is shown."""
    hide, show = page
    there = visit()
    there.rendering()
    there.pause()
    there.page.evaluate(f"() => {{ {hide} }}")
    there.edge.popups["go"] = popup(layout=layout)
    there.page.evaluate("opportune.track('go')")
    settle(there, 20_000)
    assert [each for each in there.edge.messages if "Opportune" in str(each.get("event"))] == []
    there.page.evaluate(f"() => {{ {show} }}")
    there.reported("Impression")


@pytest.mark.parametrize("layout", ["modal", "banner_top"])
def test_a_page_that_hides_itself_late_delays_the_impression(visit: Go, layout: str) -> None:
    """The popup was there first; it is neither seen nor wrong while the page is hidden."""
    there = visit()
    appear(there, layout, "() => { document.body.style.display = 'none' }")
    settle(there, 20_000)
    assert there.edge.named("Opportune Impression") == there.edge.named("Opportune Error") == []
    there.page.evaluate("document.body.style.display = ''")
    there.reported("Impression")


@pytest.mark.parametrize("layout", ["modal", "inline"])
def test_a_tab_in_the_background_sees_nothing(visit: Go, layout: str) -> None:
    """Neither an impression nor an error counts while the tab is hidden; the impression follows."""
    there = visit()
    there.page.evaluate("Object.defineProperty(document, 'visibilityState', {get: () => window.state ?? 'visible'})")
    appear(there, layout, "() => { window.state = 'hidden' }")
    settle(there, 20_000)
    assert there.edge.named("Opportune Impression") == there.edge.named("Opportune Error") == []
    there.page.evaluate("() => { window.state = 'visible' }")
    there.reported("Impression")


def test_an_inline_popup_waits_below_the_fold_and_in_a_closed_tab(visit: Go) -> None:
    """It may take any time until the visitor scrolls to its place or opens it."""
    there = visit(
        body=f'<div id="tab" hidden><div style="height:3000px"></div><div data-opportune-slot></div></div>{BODY}'
    )
    there.rendering()
    there.pause()
    there.edge.popups["go"] = popup(layout="inline")
    there.page.evaluate("opportune.track('go')")
    settle(there, 20_000)
    there.page.evaluate("() => { document.getElementById('tab').hidden = false }")
    settle(there, 20_000)
    assert there.edge.named("Opportune Impression") == there.edge.named("Opportune Error") == []
    there.page.evaluate("document.querySelector('opportune-popup').scrollIntoView({block: 'center'})")
    there.reported("Impression")


SEEN = {
    "a cookie bar covers an edge": f"{COVER} e.style = '{FULL};top:auto;height:8px'",
    "a grey page": "document.documentElement.style.filter = 'grayscale(1)'",
    "a page that is scaled": "document.body.style.transform = 'scale(.9)'",
    "a cover that goes": f"{COVER} e.style = '{FULL}'; Promise.resolve().then(() => e.remove())",
}


@pytest.mark.parametrize(("layout", "act"), [*zip(cycle(["slide_in", "modal"]), SEEN.values(), strict=False)], ids=SEEN)
def test_what_can_be_read_is_seen(visit: Go, layout: str, act: str) -> None:
    """Effects of the whole page and small overlaps do not matter."""
    there = visit()
    appear(there, layout, f"() => {{ {act} }}")
    there.reported("Impression")
    settle(there, 20_000)
    assert there.edge.named("Opportune Error") == []


def test_a_click_says_that_it_was_seen(visit: Go) -> None:
    """A visitor may be faster than the tag. The impression comes before the click."""
    there = visit()
    appear(there, "slide_in")
    there.host.get_by_role("link", name="Later").click()
    eventually(lambda: bool(there.edge.named("Opportune Click")), there.page)
    names = [each["event"] for each in there.edge.messages if "Opportune" in str(each.get("event"))]
    assert names == ["Opportune Impression", "Opportune Click"]
