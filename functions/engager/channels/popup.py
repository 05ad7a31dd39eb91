"""A popup in the form that the site tag shows."""

import html
import re

from engager.ledger.states import RenderedContent, Undeliverable
from shared.contracts import Activation

DEFAULT_LAYOUT = "modal"
URL_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
# Browsers drop these characters before they read the scheme: "java\nscript:" is "javascript:".
IGNORED_IN_SCHEME = re.compile(r"[\x00-\x20\x7f]+")
SCHEME = re.compile(r"([^/?#:]*):")

# Sanitised HTML keeps these. None of them runs code, loads a page, takes input or leaves the popup's box.
TAGS = frozenset(
    {"a", "abbr", "b", "blockquote", "br", "center", "code", "div", "em", "figcaption", "figure", "h1", "h2", "h3"}
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
# None of these takes a URL or a position, so a style can neither load anything nor cover the page.
STYLES = frozenset(
    {"background-color", "border", "border-color", "border-radius", "border-style", "border-width", "color"}
    | {"display", "font-family", "font-size", "font-style", "font-weight", "gap", "height", "letter-spacing"}
    | {"line-height", "margin", "margin-bottom", "margin-left", "margin-right", "margin-top", "max-width", "padding"}
    | {"padding-bottom", "padding-left", "padding-right", "padding-top", "text-align", "text-decoration"}
    | {"text-transform", "vertical-align", "white-space", "width"}
)
# Optional fields of `definitions.model.popup` that the tag gets unchanged.
UNCHANGED = ("image", "close", "delay", "dismiss_after", "theme")


def compose(
    activation: Activation, rendered: RenderedContent, variant: str | None = None, priority: int = 0
) -> RenderedContent:
    """Return the popup for the tag: id, campaign, layout, title, body, actions, and the optional fields.

    ``priority``: of several popups that wait on a page, the tag shows the highest first; left out if 0.
    ``html``: sanitised.
    ``at``, ``expires``: the match and the expiry, ms. The tag uses their difference, because browser clocks are wrong.
    Raises `Undeliverable` if a rendered URL has a scheme that runs code.
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
        content["html"] = sanitise(rendered["html"])
    if rendered.get("expires"):
        content |= {"at": activation.at, "expires": activation.at + rendered["expires"]}
    return content | {name: rendered[name] for name in UNCHANGED if name in rendered}


def sanitise(markup: str) -> str:
    """Return *markup* without anything that could run code, load a page, take input or cover the site's page."""
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
    """Raise `Undeliverable` unless *url* is relative or has one of ``URL_SCHEMES``."""
    scheme = SCHEME.match(IGNORED_IN_SCHEME.sub("", html.unescape(url)))
    if scheme and scheme[1].lower() not in URL_SCHEMES:
        raise Undeliverable("a URL has a scheme other than http, https, mailto or tel", code="unsafe_url")
