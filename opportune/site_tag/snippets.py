"""The code to paste for each event of a site, in pages and on servers.

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
    """A piece of code to paste.

    id: its kind, for programs
    note: a restriction to know
    """

    id: str
    title: str
    language: str
    code: str
    note: str = ""


@dataclass(frozen=True)
class Described:
    """An attribute of an event, described; ``values`` lists the possible ones if they are limited."""

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
    """All tags of a site; ``missing`` says by placeholder what to fill in."""

    site: str
    name: str
    script: Snippet
    identify: Snippet
    events: tuple[EventTags, ...]
    missing: dict[str, str]


# It works even before the tag has loaded: the array holds calls until then.
IDENTIFY = Snippet(
    "identify",
    "Where a user is logged in",
    "js",
    f'(window.opportune ||= []).push(["identify", "{USER}"]);',
    'Write calls this way if they may run before the tag has loaded. Otherwise opportune.track("…") works too.',
)


def tags(definitions: Definitions, endpoint: str | None, event: str | None = None) -> SiteTags:
    """Return the tags of a site's events, or of one event; *endpoint* is None if it is not known.

    Raise `InvalidRequest` if the event is not defined, or if none is.
    """
    known = [each.name for each in definitions.events]
    if event is not None and event not in known:
        raise InvalidRequest(f"there is no event '{event}'; defined: {listed(known) or 'none'}", code="unknown_event")
    if not known:
        raise InvalidRequest("no event is defined: add one to events/, such as 'name: order_placed'", code="no_events")
    at = _Destination(endpoint or ENDPOINT, _public(definitions.site.keys), _secret(definitions.site.keys))
    missing = {}
    if endpoint is None:
        missing[ENDPOINT] = "the address of your endpoint (an output of the deployed stack)"
    if at.key == PUBLIC_KEY:
        missing[PUBLIC_KEY] = "a public write key of the site (the site file has only its hash)"
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


def _event(at: "_Destination", event: Event) -> EventTags:
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
    expressed, unsupported = data_attributes(values)
    attributes = {"data-event": event} | ({} if on == "click" else {"data-event-on": on}) | expressed
    written = " ".join(f"{name}={_quoted(value)}" for name, value in attributes.items())
    note = f"HTML cannot express {listed(unsupported)}. If you need them, use JavaScript." if unsupported else ""
    return Snippet("attributes", f"On an element ({on})", "html", f"<{element} {written}>{inside}</{element}>", note)


def _quoted(value: str) -> str:
    """Return the value of an HTML attribute, in the quotes that need the least escaping."""
    text = html.escape(value, quote=False)
    return f'"{text.replace(chr(34), "&quot;")}"' if '"' not in text or "'" in text else f"'{text}'"


def _javascript(event: str, values: dict[str, Any]) -> Snippet:
    argument = f", {javascript(values)}" if values else ""
    return Snippet("javascript", "JavaScript", "js", f"opportune.track({javascript(event)}{argument});")


@dataclass(frozen=True)
class _Destination:
    """Where the tags send events, with which public key, and which variable holds the secret key."""

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
        argument = f", {python(values)}" if values else ""
        code = (
            "import os\n"
            "import segment.analytics as analytics  # pip install segment-analytics-python\n\n"
            f'analytics.write_key = os.environ["{self.variable}"]\n'
            f"analytics.host = {python(self.endpoint)}\n\n"
            f'analytics.track("{USER}", {python(event)}{argument})\n'
            "analytics.flush()  # before the program ends\n"
        )
        return Snippet("python", "Python", "python", code.rstrip())

    def node(self, event: str, values: dict[str, Any]) -> Snippet:
        argument = f", properties: {javascript(values)}" if values else ""
        code = (
            'import { Analytics } from "@segment/analytics-node"; // npm install @segment/analytics-node\n\n'
            "const analytics = new Analytics({\n"
            f"  writeKey: process.env.{self.variable},\n"
            f"  host: {javascript(self.endpoint)},\n"
            "});\n\n"
            f'analytics.track({{ userId: "{USER}", event: {javascript(event)}{argument} }});\n'
            "await analytics.closeAndFlush(); // before the program ends\n"
        )
        return Snippet("node", "Node", "js", code.rstrip())
