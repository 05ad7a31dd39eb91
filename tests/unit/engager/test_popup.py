"""Popups: the form that the tag shows, and no URL that runs code."""

import pytest

from engager.channels.popup import check_url, compose, sanitise
from engager.ledger.states import Undeliverable
from shared.contracts import Activation


def activation() -> Activation:
    """Return an activation of a popup."""
    return Activation("a1", "demo", "u1", "three-wins", 1, "popup", 0, "game_result", "m1")


def test_content_has_the_six_fields_of_the_tag() -> None:
    """Title, body, layout and actions come from the campaign, the ids from the activation."""
    actions = [{"label": "Take", "url": "/boost"}]
    rendered = {"layout": "slide_in", "title": "T", "body": "B", "actions": actions, "internal": 1}
    assert compose(activation(), rendered) == {
        "id": "a1",
        "campaign": "three-wins",
        "layout": "slide_in",
        "title": "T",
        "body": "B",
        "actions": actions,
    }


def test_absent_fields_have_defaults() -> None:
    """A popup with a title only is a modal without body and actions."""
    content = compose(activation(), {"title": "T"})
    assert (content["layout"], content["body"], content["actions"]) == ("modal", "", [])


def test_optional_fields_are_passed_on() -> None:
    """Image, theme and times; the variant by its id; the expiry next to the time of the match."""
    optional = {"image": {"url": "/a.png", "alt": ""}, "close": False, "delay": 2000, "theme": {"scheme": "dark"}}
    content = compose(activation(), {"title": "T", **optional, "dismiss_after": 8000, "expires": 60_000}, "b")
    assert {name: content[name] for name in optional} == optional
    assert (content["dismiss_after"], content["variant"]) == (8000, "b")
    assert (content["at"], content["expires"]) == (0, 60_000)


def test_the_tag_gets_the_priority() -> None:
    """The tag gets the priority of a popup, unless it is 0, as in most campaigns."""
    assert compose(activation(), {"title": "T"}, priority=-5)["priority"] == -5
    assert "priority" not in compose(activation(), {"title": "T"})


def test_an_image_has_no_url_that_runs_code() -> None:
    """Its URL is checked like those of the actions."""
    with pytest.raises(Undeliverable) as refused:
        compose(activation(), {"title": "T", "image": {"url": "javascript:x"}})
    assert refused.value.code == "unsafe_url"


@pytest.mark.parametrize(
    "url", ["", "/boost", "boost?a=b:c", "#top", "https://x.example/", "MAILTO:a@b.example", "tel:+49"]
)
def test_ordinary_urls_pass(url: str) -> None:
    """Relative URLs, web pages, mail and phone links are allowed."""
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
    """A scheme that runs code is found in every disguise."""
    with pytest.raises(Undeliverable) as refused:
        compose(activation(), {"actions": [{"label": "x", "url": url}]})
    assert refused.value.code == "unsafe_url"


def test_html_comes_beside_the_fields() -> None:
    """HTML is in a field of its own, sanitised; without HTML the field is absent."""
    content = compose(activation(), {"title": "T", "html": "<p onclick='x()'>Hi <b>Ada</b></p>"})
    assert content["html"] == "<p>Hi <b>Ada</b></p>"
    assert content["title"] == "T"
    assert "html" not in compose(activation(), {"title": "T", "html": ""})


@pytest.mark.parametrize(
    ("markup", "left"),
    [
        ("<script>alert(1)</script>Hi", "Hi"),
        ("<style>body{display:none}</style>Hi", "Hi"),
        ("<img src=x onerror=alert(1)>", '<img src="x">'),
        ("<svg onload=alert(1)><circle/></svg>", ""),
        ("<math><mi xlink:href='javascript:x'>Hi</mi></math>", ""),
        ("<iframe src='https://evil.example/'></iframe>", ""),
        ("<object data=x></object><embed src=x>", ""),
        ("<form action=/x><input name=p><button>Go</button></form>", "Go"),
        ("<base href='https://evil.example/'><meta http-equiv=refresh content=0><link rel=stylesheet href=x>", ""),
        ("<a href='java\nscript:alert(1)'>x</a>", '<a rel="noopener noreferrer">x</a>'),
        ("<a href='data:text/html,x'>x</a>", '<a rel="noopener noreferrer">x</a>'),
        ("<img src='data:image/svg+xml,x' alt=a>", '<img alt="a">'),
        ("<p id=root name=x data-x=1>Hi</p>", "<p>Hi</p>"),
        ("<!-- x --><b>Hi", "<b>Hi</b>"),
        ("<div style='position:fixed;top:0;color:red;background:url(https://evil.example/)'>x</div>", None),
    ],
)
def test_harmful_markup_is_removed(markup: str, left: str | None) -> None:
    """Scripts, frames, forms, handlers, URLs that run code, and styles that cover the page or load something."""
    expected = '<div style="color:red">x</div>' if left is None else left
    assert sanitise(markup) == expected


@pytest.mark.parametrize(
    "markup",
    [
        '<h2 class="big">50 %</h2><p style="color:red;text-align:center">now</p>',
        '<a href="/boost" rel="noopener noreferrer">Take</a>',
        '<img src="https://cdn.shop.example/a.png" alt="A" width="10">',
        "<table><tbody><tr><td>1</td></tr></tbody></table><ul><li>a</li></ul><br><hr>",
    ],
)
def test_ordinary_markup_stays(markup: str) -> None:
    """Text, links, images, lists, tables and simple styles are kept."""
    assert sorted(sanitise(markup)) == sorted(markup)
