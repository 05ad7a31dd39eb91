"""The tags of a site: for every event what to paste, in the page and on the server.

https://segment.com/docs/connections/sources/catalog/libraries/server/python
https://segment.com/docs/connections/sources/catalog/libraries/server/node
"""

import html
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from definitions.model.definitions import Definitions
from definitions.model.event import Attribute, Event
from definitions.model.site import Key
from opportune.site_tag.values import data_attributes, example, javascript, listed, properties, python
from shared.errors import InvalidRequest

ENDPOINT = "https://YOUR-ENDPOINT"
PUBLIC_KEY = "YOUR-PUBLIC-KEY"
SECRET_VARIABLE = "OPPORTUNE_KEY"
USER = "USER-ID"
_ELEMENTS = {"click": ("button", "…"), "submit": ("form", "…"), "view": ("section", "…")}


@dataclass(frozen=True)
class Snippet:
    """Something to paste. ``id``: what it is, for programs; ``note``: what to mind."""

    id: str
    title: str
    language: str
    code: str
    note: str = ""


@dataclass(frozen=True)
class Described:
    """An attribute of an event in words. ``values``: those that are possible, where only some are."""

    name: str
    type: str
    example: str
    values: str
    description: str


@dataclass(frozen=True)
class EventTags:
    """The snippets of one event, and where on the site it happens."""

    event: str
    description: str
    page: str
    selector: str
    attributes: tuple[Described, ...]
    browser: tuple[Snippet, ...]
    server: tuple[Snippet, ...]


@dataclass(frozen=True)
class SiteTags:
    """All tags of a site. ``missing``: what is still to be filled in, by placeholder."""

    site: str
    name: str
    script: Snippet
    identify: Snippet
    events: tuple[EventTags, ...]
    missing: dict[str, str]


# It works before the tag has loaded, too: until then the calls lie in an array.
IDENTIFY = Snippet(
    "identify",
    "Where somebody is logged in",
    "js",
    f'(window.opportune ||= []).push(["identify", "{USER}"]);',
    'A call that may come before the tag has loaded is written so; all others may be opportune.track("…").',
)


def tags(definitions: Definitions, endpoint: str | None, event: str | None = None) -> SiteTags:
    """Return the tags of a site's events, or of one; *endpoint* may not be known.

    Raises `InvalidRequest` for an event that is not defined, and where none is.
    """
    known = [each.name for each in definitions.events]
    if event is not None and event not in known:
        raise InvalidRequest(f"there is no event '{event}'; defined: {listed(known) or 'none'}", code="unknown_event")
    if not known:
        raise InvalidRequest(
            "no event is defined: write one into events/, such as 'name: order_placed'", code="no_events"
        )
    at = _At(endpoint or ENDPOINT, _public(definitions.site.keys), _secret(definitions.site.keys))
    missing = {}
    if endpoint is None:
        missing[ENDPOINT] = "the address of your endpoint, an output of the deployed stack"
    if at.key == PUBLIC_KEY:
        missing[PUBLIC_KEY] = "a public write key of the site; the site file has its hash alone"
    return SiteTags(
        definitions.site.id,
        definitions.site.name,
        at.script(),
        IDENTIFY,
        tuple(_event(at, each) for each in definitions.events if event in (None, each.name)),
        missing,
    )


def _public(keys: Sequence[Key]) -> str:
    return next((each.key for each in keys if each.kind == "public" and each.key), PUBLIC_KEY)


def _secret(keys: Sequence[Key]) -> str:
    return next((each.from_env for each in keys if each.kind == "secret" and each.from_env), SECRET_VARIABLE)


def _event(at: "_At", event: Event) -> EventTags:
    tag = event.tag
    on = (tag and tag.on) or "click"
    values = properties(event)
    return EventTags(
        event.name,
        event.description or "",
        (tag and tag.page) or "",
        (tag and tag.selector) or "",
        tuple(_described(name, attribute) for name, attribute in (event.attributes or {}).items()),
        (_attributes(event.name, on, values), _javascript(event.name, values)),
        (at.curl(event.name, values), at.python(event.name, values), at.node(event.name, values)),
    )


def _described(name: str, attribute: Attribute) -> Described:
    shown = javascript(example(name.rpartition(".")[2], attribute))
    values = ", ".join(map(javascript, attribute.one_of or ()))
    return Described(name, attribute.type, shown, values, attribute.description or "")


def _attributes(event: str, on: str, values: dict[str, Any]) -> Snippet:
    element, inside = _ELEMENTS[on]
    said, unsaid = data_attributes(values)
    told = {"data-event": event} | ({} if on == "click" else {"data-event-on": on}) | said
    written = " ".join(f"{name}={_quoted(value)}" for name, value in told.items())
    note = f"HTML cannot say {listed(unsaid)}: where they count, call JavaScript." if unsaid else ""
    return Snippet("attributes", f"On an element ({on})", "html", f"<{element} {written}>{inside}</{element}>", note)


def _quoted(value: str) -> str:
    """Return the value of an HTML attribute, in the quotes in which it reads best."""
    text = html.escape(value, quote=False)
    return f'"{text.replace(chr(34), "&quot;")}"' if '"' not in text or "'" in text else f"'{text}'"


def _javascript(event: str, values: dict[str, Any]) -> Snippet:
    said = f", {javascript(values)}" if values else ""
    return Snippet("javascript", "JavaScript", "js", f"opportune.track({javascript(event)}{said});")


@dataclass(frozen=True)
class _At:
    """Where the tags send to, and as whom: a key that everybody may see, and a variable that holds a secret one."""

    endpoint: str
    key: str
    variable: str

    def script(self) -> Snippet:
        source, key = html.escape(f"{self.endpoint}/tag.js"), html.escape(self.key)
        code = f'<script async src="{source}" data-key="{key}"></script>'
        return Snippet("script", "In every page", "html", code)

    def curl(self, event: str, values: dict[str, Any]) -> Snippet:
        message: dict[str, Any] = {"userId": USER, "event": event} | ({"properties": values} if values else {})
        body = shlex.quote(json.dumps(message, ensure_ascii=False))
        code = f'curl {shlex.quote(f"{self.endpoint}/v1/track")} -u "${self.variable}:" \\\n  -d {body}'
        return Snippet("curl", "curl", "sh", code)

    def python(self, event: str, values: dict[str, Any]) -> Snippet:
        said = f", {python(values)}" if values else ""
        code = (
            "import os\n"
            "import segment.analytics as analytics  # pip install segment-analytics-python\n\n"
            f'analytics.write_key = os.environ["{self.variable}"]\n'
            f"analytics.host = {python(self.endpoint)}\n\n"
            f'analytics.track("{USER}", {python(event)}{said})\n'
            "analytics.flush()  # before the program ends\n"
        )
        return Snippet("python", "Python", "python", code.rstrip())

    def node(self, event: str, values: dict[str, Any]) -> Snippet:
        said = f", properties: {javascript(values)}" if values else ""
        code = (
            'import { Analytics } from "@segment/analytics-node"; // npm install @segment/analytics-node\n\n'
            "const analytics = new Analytics({\n"
            f"  writeKey: process.env.{self.variable},\n"
            f"  host: {javascript(self.endpoint)},\n"
            "});\n\n"
            f'analytics.track({{ userId: "{USER}", event: {javascript(event)}{said} }});\n'
            "await analytics.closeAndFlush(); // before the program ends\n"
        )
        return Snippet("node", "Node", "js", code.rstrip())
