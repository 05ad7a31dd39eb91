"""docs/connect.md: each body that it shows is posted to the Gateway, and counts for what the page says.

The class of fault: an example of the page is refused, or counts for another user, at another time, or twice.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from shared.contracts import Event
from shared.identities import Identification
from tests.support.gateway_site import NOW, Site
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRODUCTS = (
    "Segment",
    "RudderStack",
    "Snowplow",
    "Google Tag Manager, server-side",
    "mParticle",
    "Tealium",
    "Amazon EventBridge",
)


class Example(NamedTuple):
    """A request of the page, and what it counts for."""

    section: str
    path: str
    body: Any
    counts: list[Any]


def fill(template: str, event: dict[str, Any]) -> Any:
    """Return what Tealium's template makes of *event*."""
    return json.loads(re.sub(r"\{\{(\w+)\}\}", lambda found: str(event[found[1]]), template))


def transform(transformer: dict[str, Any], event: dict[str, Any]) -> Any:
    """Return what EventBridge's input transformer makes of *event*."""

    def find(path: str) -> Any:
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        return value

    values = {name: json.dumps(find(path)) for name, path in transformer["InputPathsMap"].items()}
    return json.loads(re.sub(r"<(\w+)>", lambda found: values[found[1]], transformer["InputTemplate"]))


def examples() -> Iterator[Example]:
    """Yield the requests of the page; a converter, a template or a transformer makes some of them."""
    for section in PAGE.split("\n## ")[1:]:
        title = section.partition("\n")[0]
        path, body, parts = "", None, {}
        for language, name, text in _BLOCK.findall(section):
            parts[language, name] = text
            if name.startswith("POST "):
                path, body = name.removeprefix("POST "), json.loads(text)
            elif language == "counts":
                if ("python", title) in parts:
                    scope: dict[str, Any] = {}
                    exec(parts["python", title], scope)  # noqa: S102 - it is the page's own code
                    path, body = "/v1/batch", scope["convert"](json.loads(parts["json", title]))
                elif ("json", f"{title} template") in parts:
                    event = json.loads(parts["json", f"{title} event"])
                    path, body = "/v1/track", fill(parts["json", f"{title} template"], event)
                elif ("json", "EventBridge transformer") in parts:
                    event = json.loads(parts["json", "EventBridge event"])
                    path, body = "/v1/track", transform(json.loads(parts["json", "EventBridge transformer"]), event)
                yield Example(title, path, body, [json.loads(line) for line in text.splitlines()])


EXAMPLES = list(examples())


def post(example: Example) -> tuple[int, dict[str, Any], list[Any]]:
    """Post the body with a secret key; return the status, the answer, and what it counts for."""
    site = Site()
    site.decider.adapters = ["snowplow"]
    site.decider.events = {item[1]: sorted(item[2]) for item in example.counts if item[1] != "is"}
    status, answer = site.post(example.path, example.body, key="" if "snowplow" in example.path else "secret")
    found: list[Any] = []
    for item in (item for request in site.decider.decided for item in request.items):
        if isinstance(item, Identification):
            found.append([item.user, "is", item.visitor.removeprefix("anon:"), item.traits])
        elif isinstance(item, Event):
            at = datetime.fromtimestamp(item.at / 1000, UTC).isoformat(timespec="milliseconds")
            found.append([item.user, item.event, item.attributes, at.replace("+00:00", "Z")])
    return status, answer, found


def test_every_product_has_an_example() -> None:
    """Each section plays at least one body."""
    assert {example.section for example in EXAMPLES} == set(PRODUCTS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.section)
def test_a_body_counts_for_what_the_page_says(example: Example) -> None:
    """User, name, attributes, time and logins; without a warning."""
    status, answer, found = post(example)
    assert (status, answer.get("rejected"), answer.get("warnings")) == (200, None, None)
    assert found == example.counts


def test_an_unfilled_template_is_refused() -> None:
    """As the page says of Tealium."""
    body = {"type": "track", "event": "purchase", "userId": "{{customer_id}}"}
    status, answer, _ = post(Example("Tealium", "/v1/track", body, []))
    assert (status, answer["code"]) == (400, "invalid_user_id")
    assert NOW  # the page's times are those of this clock
