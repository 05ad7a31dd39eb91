"""Popups: the shape the tag paints, and no URL that runs code."""

import pytest

from engager.outcome import Undeliverable
from engager.popup import check_url, popup
from shared.contracts import Activation


def activation() -> Activation:
    """Return an activation of a popup."""
    return Activation("a1", "demo", "u1", "three-wins", 1, "popup", 0, "game_result", "m1")


def test_content_has_the_six_fields_of_the_tag() -> None:
    """Title, body, layout and actions come from the campaign, the ids from the activation."""
    actions = [{"label": "Take", "url": "/boost"}]
    rendered = {"layout": "slide_in", "title": "T", "body": "B", "actions": actions, "internal": 1}
    assert popup(activation(), rendered) == {
        "id": "a1",
        "campaign": "three-wins",
        "layout": "slide_in",
        "title": "T",
        "body": "B",
        "actions": actions,
    }


def test_absent_fields_have_defaults() -> None:
    """A popup of a title alone is a modal without body and actions."""
    content = popup(activation(), {"title": "T"})
    assert (content["layout"], content["body"], content["actions"]) == ("modal", "", [])


@pytest.mark.parametrize(
    "url", ["", "/boost", "boost?a=b:c", "#top", "https://x.example/", "MAILTO:a@b.example", "tel:+49"]
)
def test_ordinary_urls_pass(url: str) -> None:
    """Relative addresses, web pages, mail and telephone are what a popup links to."""
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "javascript&#58;alert(1)",
        "data:text/html,x",
        "vbscript:x",
    ],
)
def test_urls_that_run_code_are_refused(url: str) -> None:
    """A scheme that runs code is found however it is disguised."""
    with pytest.raises(Undeliverable) as refused:
        popup(activation(), {"actions": [{"label": "x", "url": url}]})
    assert refused.value.code == "unsafe_url"
