"""Check URLs in the content of a campaign, as far as they do not depend on the customer or the event."""

import html
import re
from collections.abc import Iterator

import liquid
from liquid.static_analysis import TemplateAnalysis

from shared.addresses import ascii_host
from shared.templates import RENDER_ERRORS

URL_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
HOST = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
# Browsers drop these characters before they look for the scheme: they read "java\nscript:" as "javascript:".
_IGNORED_IN_URL = re.compile(r"[\x00-\x20\x7f]+")
_SCHEME = re.compile(r"([^/?#:]*):")
_LIQUID = re.compile(r"\{[{%]")
_WHOLE_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


def check_link(text: str, template: liquid.BoundTemplate, analysis: TemplateAnalysis) -> Iterator[tuple[int, str]]:
    """Yield an index in *text* and a message for each error in a URL that a browser or an app opens."""
    start = _LIQUID.split(text, maxsplit=1)[0]
    # Without variables, loops and ranges, the URL is the same for everyone.
    if not analysis.globals and not analysis.tags and ".." not in text:
        try:
            start = template.render()
        except RENDER_ERRORS:
            yield 0, "this URL cannot be rendered: check its Liquid"
            return
    scheme = _SCHEME.match(_IGNORED_IN_URL.sub("", html.unescape(start)))
    if scheme and scheme[1].lower() not in URL_SCHEMES:
        yield 0, f"a URL must not start with '{scheme[1]}:': write http(s), mailto, tel or a path such as /boost"


def check_webhook_url(text: str, *_: object) -> Iterator[tuple[int, str]]:
    """Yield an index in *text* and a message for each error in the URL of a webhook."""
    start = _LIQUID.split(text, maxsplit=1)[0]
    if not start.lower().startswith("https://"):
        yield 0, "a webhook's URL starts with https://, such as https://hooks.example.com/opportune"
        return
    authority = re.split(r"[/?#\\]", start[8:], maxsplit=1)[0]
    if len(authority) == len(start[8:]) < len(text[8:]):
        yield len(start), "only the path and the query may contain Liquid: write the host, a '/', and then Liquid"
    elif "@" in authority:
        yield 8, "a webhook's URL has no user or password: the receiver checks the signature instead"
    elif ":" in authority:
        yield 8, f"a webhook uses the standard port of https: remove '{authority[authority.index(':') :]}'"
    elif webhook_host(text) is None:
        yield 8, f"'{authority}' is not a host name, such as hooks.example.com"
    literal = _WHOLE_LIQUID.sub("", text[8 + len(authority) :])
    if not re.fullmatch(r"[!-~]*", literal) or "#" in literal or "\\" in literal:
        yield 0, "a webhook's URL must not contain spaces, '#', '\\' or non-ASCII letters: write %20 and so on"


def webhook_host(url: str) -> str | None:
    """Return the host of a webhook's *url* in lower-case ASCII, or ``None`` if it is not valid."""
    found = re.match(r"https://([^/?#\\{}\s]+)(?=[/?]|\Z)", url, re.IGNORECASE)
    host = ascii_host(found[1]) if found else None
    return host if host and HOST.fullmatch(host) else None
