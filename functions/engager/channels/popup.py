"""A popup as the tag paints it."""

import html
import re

from engager.ledger.states import Content, Undeliverable
from shared.contracts import Activation

DEFAULT_LAYOUT = "modal"
URL_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
# What a browser drops before it looks for the scheme: "java\nscript:" is "javascript:" to it.
IGNORED_IN_URL = re.compile(r"[\x00-\x20\x7f]+")
SCHEME = re.compile(r"([^/?#:]*):")


# What a popup is made of. Nothing that runs, loads a page, takes input, or reaches out of the popup's box.
TAGS = frozenset(
    {
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "center",
        "code",
        "div",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
    }
    | {"h4", "h5", "h6", "hr", "i", "img", "li", "mark", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "sup"}
    | {"table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"}
)
ATTRIBUTES = {
    "*": frozenset({"class", "dir", "lang", "style", "title"}),
    "a": frozenset({"href"}),
    "img": frozenset({"alt", "height", "src", "width"}),
    "ol": frozenset({"start"}),
    "td": frozenset({"align", "colspan", "rowspan", "valign", "width"}),
    "th": frozenset({"align", "colspan", "rowspan", "scope", "valign", "width"}),
}
# None of them takes an address or a position: a style neither calls home nor covers the page.
STYLES = frozenset(
    {"background-color", "border", "border-color", "border-radius", "border-style", "border-width", "color"}
    | {"display", "font-family", "font-size", "font-style", "font-weight", "gap", "height", "letter-spacing"}
    | {"line-height", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top", "max-width", "padding"}
    | {"padding-bottom", "padding-left", "padding-right", "padding-top", "text-align", "text-decoration"}
    | {"text-transform", "vertical-align", "white-space", "width"}
)


# What the tag gets as it was written: the fields of `definitions.model.popup` that are not always there.
AS_WRITTEN = ("image", "close", "delay", "dismiss_after", "theme")


def popup(activation: Activation, rendered: Content, variant: str | None = None, priority: int = 0) -> Content:
    """Return what the tag paints: id, campaign, layout, title, body, actions, and whatever else there is.

    *priority*: of several that wait on a page the highest goes first. ``html`` is sanitised. ``expires`` is a time,
    beside that of the match, ``at``: browsers' clocks are off, and the difference of the two is not. Raises
    `Undeliverable` for a URL that came out with a scheme that runs code.
    """
    actions = rendered.get("actions") or []
    for linked in (*actions, rendered.get("image") or {}):
        check_url(linked.get("url") or "")
    content = {
        "id": activation.id,
        "campaign": activation.campaign,
        "layout": rendered.get("layout") or DEFAULT_LAYOUT,
        "title": rendered.get("title") or "",
        "body": rendered.get("body") or "",
        "actions": actions,
    }
    if variant:
        content["variant"] = variant
    if priority:
        content["priority"] = priority
    if rendered.get("html"):
        content["html"] = sanitised(rendered["html"])
    if rendered.get("expires"):
        content |= {"at": activation.at, "expires": activation.at + rendered["expires"]}
    return content | {name: rendered[name] for name in AS_WRITTEN if name in rendered}


def sanitised(markup: str) -> str:
    """Return *markup* without whatever could run code, load a page, take input or cover the site's own page."""
    import nh3  # noqa: PLC0415 - most popups have no HTML

    return nh3.clean(
        markup,
        tags=set(TAGS),
        clean_content_tags={"script", "style", "template", "title"},
        attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
        url_schemes=set(URL_SCHEMES),
        filter_style_properties=set(STYLES),
        link_rel="noopener noreferrer",
    )


def check_url(url: str) -> None:
    """Raise `Undeliverable` unless *url* is relative or has a scheme of ``URL_SCHEMES``."""
    scheme = SCHEME.match(IGNORED_IN_URL.sub("", html.unescape(url)))
    if scheme and scheme[1].lower() not in URL_SCHEMES:
        raise Undeliverable("a URL has a scheme that is not allowed", code="unsafe_url")
