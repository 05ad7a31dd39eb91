"""Beacons from pages of another origin reach the Decider.

The class: a browser sends `sendBeacon` with credentials, so the Gateway must name the page and allow credentials.
A JSON Blob needs a preflight; other types, plain strings and forms of text need none. Members: each type of body,
each kind of address that libraries use, one call and a batch, and the key in the body or in the query.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from playwright.sync_api import BrowserContext, Page

from shared.contracts import Decide
from tests.support.tag_site import KEY, Edge, Site, eventually

SEND = "([url, body, type]) => navigator.sendBeacon(url, type ? new Blob([body], {type}) : body)"
CALL = {"type": "track", "userId": "anna", "event": "Left", "messageId": "m-1"}
WITH_KEY = {**CALL, "writeKey": KEY}
IN_QUERY = f"?writeKey={KEY}"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class RecordingEdge(Edge):
    """A Gateway that records the events for which it asks the Decider."""

    def __init__(self) -> None:
        super().__init__()
        self.popups["Left"] = {"id": "a1"}
        self.decided: list[tuple[str, str, str]] = []

    def _decide(self, payload: bytes) -> bytes:
        for event in msgspec.json.decode(payload, type=Decide).events:
            self.decided.append((event.user, event.event, event.message_id))
        return super()._decide(payload)


@pytest.fixture(name="recording")
def _recording() -> Iterator[RecordingEdge]:
    edge = RecordingEdge()
    edge.start()
    yield edge
    edge.stop()


@pytest.fixture(name="opened")
def _opened(context: BrowserContext, site: Site) -> Page:
    site.pages["/"] = ("<!doctype html><title>A page</title>", {})
    opened = context.new_page()
    opened.goto(f"{site.url}/")
    return opened


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/track", WITH_KEY, JSON),
        ("/v1/t", WITH_KEY, f"{JSON}; charset=utf-8"),
        ("/v1/batch", {"batch": [CALL], "writeKey": KEY}, JSON),
        (f"/beacon/v1/batch{IN_QUERY}", {"batch": [CALL]}, JSON),
        (f"/v1/track/{IN_QUERY}", CALL, JSON),
        ("/v1/track", WITH_KEY, "application/vnd.site+json"),
        ("/v1/track", WITH_KEY, "text/plain"),
        ("/v1/track", WITH_KEY, FORM),
        ("/v1/track", WITH_KEY, ""),
    ],
)
def test_a_beacon_from_another_origin_is_accepted(
    opened: Page, recording: RecordingEdge, path: str, body: dict[str, Any], kind: str
) -> None:
    """The event reaches the Decider once, whatever the type of the body."""
    assert opened.evaluate(SEND, [recording.url + path, json.dumps(body), kind])
    eventually(lambda: bool(recording.decided), opened)
    assert recording.decided == [("anna", "Left", "m-1")]


def test_a_beacon_that_is_sent_as_the_page_closes_is_accepted(opened: Page, recording: RecordingEdge) -> None:
    """A preflight is answered although its page has gone."""
    opened.evaluate(
        "([url, body]) => addEventListener('pagehide', () => navigator.sendBeacon(url, new Blob([body], "
        "{type: 'application/json'})))",
        [f"{recording.url}/v1/track", json.dumps(WITH_KEY)],
    )
    other = opened.context.new_page()
    opened.close(run_before_unload=True)
    eventually(lambda: bool(recording.decided), other)
    assert recording.decided == [("anna", "Left", "m-1")]
