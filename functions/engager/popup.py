"""A popup as the tag paints it."""

import html
import re

from engager.outcome import Content, Undeliverable
from shared.contracts import Activation

DEFAULT_LAYOUT = "modal"
URL_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
# What a browser drops before it looks for the scheme: "java\nscript:" is "javascript:" to it.
IGNORED_IN_URL = re.compile(r"[\x00-\x20\x7f]+")
SCHEME = re.compile(r"([^/?#:]*):")


def popup(activation: Activation, rendered: Content) -> Content:
    """Return the content that the tag paints: id, campaign, layout, title, body, actions.

    Raises `Undeliverable` for an action whose URL came out with a scheme that runs code.
    """
    actions = rendered.get("actions") or []
    for action in actions:
        check_url(action.get("url") or "")
    return {
        "id": activation.id,
        "campaign": activation.campaign,
        "layout": rendered.get("layout") or DEFAULT_LAYOUT,
        "title": rendered.get("title") or "",
        "body": rendered.get("body") or "",
        "actions": actions,
    }


def check_url(url: str) -> None:
    """Raise `Undeliverable` unless *url* is relative or has a scheme of ``URL_SCHEMES``."""
    scheme = SCHEME.match(IGNORED_IN_URL.sub("", html.unescape(url)))
    if scheme and scheme[1].lower() not in URL_SCHEMES:
        raise Undeliverable("an action's URL has a scheme that is not allowed", code="unsafe_url")
