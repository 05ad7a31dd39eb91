"""Several popups on one page in a real browser: which is shown, which waits, and which is replaced."""

from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.test_tag_popups import Go, Visit, _visit, popup
from tests.support.tag_site import Edge, eventually

__all__ = ["_visit"]

READ_MS = 8_000
ASIDE = ["banner_top", "banner_bottom", "slide_in"]


def send(there: Visit, *popups: dict[str, Any]) -> None:
    """Trigger *popups* in this order, one per event."""
    for one in popups:
        there.edge.popups[f"event {one['id']}"] = {"campaign": "c", "layout": "modal", "title": one["id"], **one}
        there.page.evaluate("name => opportune.track(name)", f"event {one['id']}")


def heading(there: Visit, title: str) -> Locator:
    """Return the heading of a popup."""
    return there.page.get_by_role("heading", name=title, exact=True)


def reasons(edge: Edge) -> dict[str, str]:
    """Return the dismissal reasons of popups by id."""
    reports = [each["properties"] for each in edge.named("Opportune Dismiss")]
    return {each["activation"]: each["reason"] for each in reports}


@pytest.fixture(name="there")
def _there(visit: Go) -> Visit:
    there = visit()
    there.rendering()
    return there


@pytest.mark.parametrize("layout", ASIDE)
@pytest.mark.parametrize("modal", ["modal", "fullscreen"])
def test_a_banner_holds_no_modal_back(there: Visit, layout: str, modal: str) -> None:
    """The modal opens over the banner, whatever their priorities. After it closes, the banner is unchanged."""
    send(there, {"id": "banner", "layout": layout, "priority": 10})
    expect(heading(there, "banner")).to_be_visible()
    there.reported("Impression")
    send(there, {"id": "modal", "layout": modal})
    expect(heading(there, "modal")).to_be_focused()
    there.reported("Impression", 2)
    there.page.keyboard.press("Escape")
    expect(heading(there, "modal")).to_have_count(0)
    expect(heading(there, "banner")).to_be_visible()
    eventually(lambda: bool(reasons(there.edge)), there.page)
    assert reasons(there.edge) == {"modal": "esc"}


def test_a_banner_waits_for_a_modal(there: Visit) -> None:
    """Otherwise it would appear in a hidden tab and count as seen."""
    send(there, {"id": "modal"}, {"id": "banner", "layout": "banner_top"})
    expect(heading(there, "modal")).to_be_visible()
    there.page.wait_for_timeout(700)
    there.reported("Impression")
    expect(heading(there, "banner")).to_have_count(0)
    there.page.keyboard.press("Escape")
    expect(heading(there, "banner")).to_be_visible()


def test_what_is_more_important_goes_first(there: Visit) -> None:
    """Of the waiting popups, the one with the highest priority is next; of equals, the first."""
    send(there, {"id": "open"})
    expect(heading(there, "open")).to_be_visible()
    there.reported("Impression")
    send(there, {"id": "b"}, {"id": "c"}, {"id": "z", "priority": -1}, {"id": "a", "priority": 5})
    for title in ("a", "b", "c", "z"):
        there.page.keyboard.press("Escape")
        expect(heading(there, title)).to_be_visible()
        eventually(partial(is_reported, there, f"{title}:impression"), there.page)
    assert there.host.count() == 1


def is_reported(there: Visit, message_id: str) -> bool:
    """Return whether the message was sent."""
    return message_id in [each["messageId"] for each in there.edge.messages]


def test_a_banner_that_was_in_sight_gives_way_to_the_next(there: Visit) -> None:
    """It stays until another popup waits and it has been in view for eight seconds; then it is dismissed."""
    there.pause()
    send(there, {"id": "first", "layout": "banner_top"})
    expect(heading(there, "first")).to_be_visible()
    there.run(60 * READ_MS)
    send(there, {"id": "second", "layout": "slide_in"})
    there.run(1_000)
    expect(heading(there, "second")).to_be_visible()
    expect(there.host).to_have_count(1)
    send(there, {"id": "third", "layout": "banner_top"})
    there.run(READ_MS - 2_000)
    expect(heading(there, "second")).to_be_visible()
    there.run(3_000)
    expect(heading(there, "third")).to_be_visible()
    there.run(1_000)
    eventually(lambda: len(reasons(there.edge)) == 2, there.page)
    assert reasons(there.edge) == {"first": "replaced", "second": "replaced"}


def test_a_banner_gives_way_to_nothing_less_important(there: Visit) -> None:
    """It stays until it is closed."""
    there.pause()
    send(there, {"id": "first", "layout": "banner_top", "priority": 1})
    expect(heading(there, "first")).to_be_visible()
    send(there, {"id": "second", "layout": "slide_in"})
    there.run(10 * READ_MS)
    expect(heading(there, "first")).to_be_visible()
    there.host.get_by_role("button", name="Close").click()
    there.run(1_000)
    expect(heading(there, "second")).to_be_visible()


def test_a_banner_gives_not_way_while_it_is_read(there: Visit) -> None:
    """It stays while the pointer is on it."""
    there.pause()
    send(there, {"id": "first", "layout": "slide_in"})
    heading(there, "first").hover()
    send(there, {"id": "second", "layout": "slide_in"})
    there.run(2 * READ_MS)
    expect(heading(there, "first")).to_be_visible()
    there.page.mouse.move(0, 0)
    there.run(1_000)
    expect(heading(there, "second")).to_be_visible()


def test_time_under_a_modal_is_no_time_in_sight(there: Visit) -> None:
    """Neither its viewing time nor its dismissal time passes."""
    there.pause()
    send(there, {"id": "first", "layout": "slide_in", "dismiss_after": 4_000})
    expect(heading(there, "first")).to_be_visible()
    there.reported("Impression")
    send(there, {"id": "modal"}, {"id": "second", "layout": "slide_in"})
    expect(heading(there, "modal")).to_be_visible()
    there.run(2 * READ_MS)
    there.reported("Impression", 2)
    there.page.keyboard.press("Escape")
    there.run(2_000)
    expect(heading(there, "first")).to_be_visible()
    there.run(4_000)
    expect(heading(there, "second")).to_be_visible()
    there.run(1_000)
    eventually(lambda: len(reasons(there.edge)) == 2, there.page)
    assert reasons(there.edge) == {"modal": "esc", "first": "auto"}


def test_what_is_offered_again_while_it_is_open_changes_nothing(there: Visit) -> None:
    """A popup that is offered until seen is in later responses too. It does not replace itself."""
    there.pause()
    send(there, {"id": "offer", "layout": "banner_top"})
    expect(heading(there, "offer")).to_be_visible()
    send(there, {"id": "offer", "layout": "banner_top"}, {"id": "offer", "layout": "banner_top"})
    there.run(3 * READ_MS)
    expect(heading(there, "offer")).to_be_visible()
    expect(there.host).to_have_count(1)
    there.host.get_by_role("button", name="Close").click()
    there.run(1_000)
    expect(there.host).to_have_count(0)


def test_what_expires_while_it_waits_replaces_nothing(there: Visit) -> None:
    """The waiting popup has expired, so the banner stays."""
    there.pause()
    send(there, {"id": "first", "layout": "banner_top"})
    expect(heading(there, "first")).to_be_visible()
    send(there, {"id": "late", "layout": "banner_top", "at": 0, "expires": READ_MS // 2})
    there.run(3 * READ_MS)
    expect(heading(there, "first")).to_be_visible()


@pytest.mark.parametrize("layout", ["modal", "banner_top", "banner_bottom", "slide_in"])
def test_nothing_moves_under_reduced_motion(visit: Go, layout: str) -> None:
    """With reduced motion nothing moves, neither on appearing nor under the pointer."""
    there = visit()
    moves = "element => [element, ...element.querySelectorAll('a,.close')].map(each => getComputedStyle(each))"
    moves += ".map(({ animationName, transitionDuration }) => [animationName, transitionDuration])"
    seen = {}
    motions: list[Any] = ["reduce", "no-preference"]
    for motion in motions:
        there.page.emulate_media(reduced_motion=motion)
        box = there.go(**popup(id=motion, layout=layout))
        seen[motion] = box.evaluate(moves)
        box.get_by_role("button", name="Close").click()
        expect(there.host).to_have_count(0)
    assert len(seen["reduce"]) == 4
    assert all(each == ["none", "0s"] for each in seen["reduce"])
    assert seen["no-preference"][0][0] in ("rise", "drop")
    assert all("0.15s" in each[1] for each in seen["no-preference"][1:])
