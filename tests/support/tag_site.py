"""A site on one origin and the Gateway on another: the real handler over HTTP, with a scripted Decider."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import Page

from gateway.decider_client import DeciderClient
from gateway.handler import create_handler
from gateway.ports import Deps
from gateway.rate_limiter import RateLimiter
from gateway.tag import Tag
from gateway.wiring import ASSETS
from opportune.local.api_gateway import ApiGateway
from opportune.local.environments import InvocationResult
from opportune.local.http_server import HttpServer, Request, Response
from opportune.site_tag import build
from shared.clock import now_ms
from shared.contracts import Catalogue, Decide, Decided, Decision, SiteCatalogue, write_key
from shared.observability import observe
from shared.refreshing_cache import RefreshingCache
from tests.support.lambdas import Context

KEY = "wk_tests"
FAILED = Response(500)


class Edge:
    """The Gateway at ``url``.

    popups: the popup in the response to an event, by the event's name.
    bodies: the posted bodies.
    status: if set, the response's status instead of the Gateway's.
    """

    def __init__(self) -> None:
        build.build()
        self.popups: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self.status = 0
        catalogue = RefreshingCache(lambda _: self._catalogue(), every_s=0, clock=now_ms, on_error=print)
        decisions, rates = DeciderClient(self._decide, catalogue, now_ms, 5000), RateLimiter(10_000, now_ms)
        deps = Deps(decisions, rates, now_ms, observe("gateway"), tag=Tag.load(ASSETS))
        self._handler = create_handler(deps)
        self._front = ApiGateway(self._answer, port=None, demo_dir=None)
        self.url = self._front.url
        self.start, self.stop = self._front.start, self._front.stop

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of the posts, in order."""
        return [json.loads(each["body"]) for each in self.requests if each.get("body")]

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of all posts, in order."""
        return [message for body in self.bodies for message in body["batch"]]

    def named(self, event: str) -> list[dict[str, Any]]:
        """Return the track messages of *event*."""
        return [each for each in self.messages if each.get("event") == event]

    def _catalogue(self) -> Catalogue:
        return Catalogue({"demo": SiteCatalogue([write_key(KEY)], {name: ["amount"] for name in self.popups})})

    def _decide(self, payload: bytes) -> bytes:
        events = msgspec.json.decode(payload, type=Decide).events
        return msgspec.json.encode(Decided([Decision(e.message_id, [self.popups[e.event]]) for e in events]))

    def _answer(self, payload: bytes) -> InvocationResult:
        event = json.loads(payload)
        if event["requestContext"]["http"]["method"] == "POST":
            self.requests.append(event)
            if self.status:
                told = {"code": "unavailable", "message": "not now"}
                headers = {"access-control-allow-origin": "*"}
                return InvocationResult(
                    json.dumps({"statusCode": self.status, "headers": headers, "body": json.dumps(told)}).encode()
                )
        return InvocationResult(json.dumps(self._handler(event, Context())).encode())


class Site:
    """Serves pages by path, each with its headers, on its own origin."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._server = HttpServer(self._answer, port=None, max_body=10**6, too_large=FAILED, failed=FAILED)
        self.url = self._server.url
        self.start, self.stop = self._server.start, self._server.stop

    def _answer(self, request: Request) -> Response:
        html, headers = self.pages.get(urlsplit(request.target).path, ("<!doctype html><title>Elsewhere</title>", {}))
        return Response(200, html.encode(), [*({"Content-Type": "text/html; charset=utf-8"} | dict(headers)).items()])


def page(edge: Edge, body: str = "", *, head: str = "", attributes: str = "", nonce: str = "") -> str:
    """Return a page with the tag. *attributes*: additional ones of the script element."""
    own = f' nonce="{nonce}"' if nonce else ""
    script = f'<script{own} async src="{edge.url}/tag.js" data-key="{KEY}" {attributes}></script>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{head}{script}</head><body>{body}</body></html>"
    )


def eventually(what: Callable[[], bool], page: Page, seconds: float = 10) -> None:
    """Let *page* run until *what* returns true; fail after *seconds*."""
    for _ in range(round(seconds / 0.02)):
        if what():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it did not come true")
