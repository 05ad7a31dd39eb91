"""A site that uses the Gateway's real handler, with a fake Decider that records its requests."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.decider_client import DeciderClient, fetch_catalogue
from gateway.handler import create_handler
from gateway.ports import Deps
from gateway.rate_limiter import RateLimiter
from gateway.tag import Tag
from gateway.trusted_proxy import TrustedProxy
from shared.contracts import (
    Catalogue,
    Decide,
    Decided,
    DeciderRequest,
    Decision,
    GetCatalogue,
    SiteCatalogue,
    write_key,
)
from shared.observability import observe
from shared.refreshing_cache import RefreshingCache
from tests.support.lambdas import Context, http_event

NOW = 1_790_000_000_000
POPUP = {"id": "a1", "title": "Wow"}


class FakeDecider:
    """Returns a popup per event and records its requests.

    ``unread``: sites that it cannot read. ``adapters``: those that the site has turned on.
    ``events``: the events that live triggers use, with the attributes that they read. ``types``: as in the catalogue.
    """

    def __init__(self) -> None:
        self.decided: list[Decide] = []
        self.catalogues = 0
        self.newer_key = "public"
        self.unread: list[str] = []
        self.adapters: list[str] = []
        self.types: dict[str, dict[str, str]] = {}
        self.events = {"game_result": ["outcome"], "Page Viewed": ["name", "path"]}

    def __call__(self, payload: bytes) -> bytes:
        request = msgspec.json.decode(payload, type=DeciderRequest)
        if isinstance(request, GetCatalogue):
            self.catalogues += 1
            keys = [
                write_key("public"),
                write_key("secret", secret=True),
                write_key("shop", origins=["https://shop.example", "https://*.shop.example"]),
                write_key(self.newer_key),
            ]
            site = SiteCatalogue(keys=keys, events=self.events, adapters=self.adapters, types=self.types)
            sites = {} if "demo" in self.unread else {"demo": site}
            return msgspec.json.encode(Catalogue(sites, self.unread))
        self.decided.append(request)
        return msgspec.json.encode(Decided([Decision(e.message_id, messages=[POPUP]) for e in request.events]))


class Site:
    """A site that uses the Gateway. ``age_ms``: how long ago the Gateway started; tests set it."""

    def __init__(
        self, *, trusted_proxy: TrustedProxy | None = None, per_second: int = 100, tag: Tag | None = None
    ) -> None:
        self.decider = FakeDecider()
        self.age_ms = 0
        catalogue: RefreshingCache[Catalogue] = RefreshingCache(
            lambda known: fetch_catalogue(self.decider, known),
            every_s=10,
            clock=lambda: NOW + self.age_ms,
            on_error=print,
        )
        decisions = DeciderClient(self.decider, catalogue, lambda: NOW, 2000)
        clock = lambda: NOW + self.age_ms  # noqa: E731 - it is one
        rates = RateLimiter(per_second, clock)
        deps = Deps(decisions, rates, clock, observe("gateway"), trusted_proxy or TrustedProxy(), tag=tag or Tag())
        self.handler = create_handler(deps)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "192.0.2.1",
    ) -> dict[str, Any]:
        """Return the handler's response."""
        event = self.event(method, path, body, headers, query)
        event["requestContext"]["http"]["sourceIp"] = address
        return self.send(event)

    def event(self, method: str, path: str, *parts: Any) -> dict[str, Any]:
        """Return API Gateway's event for a request. *parts*: body, headers and query."""
        return http_event(method, path, *parts or [b""])

    def send(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return the handler's response to *event*."""
        return self.handler(event, Context())

    def post(
        self,
        path: str,
        body: Any,
        *,
        key: str = "public",
        headers: Mapping[str, str] | None = None,
        address: str = "192.0.2.1",
        **query: str,
    ) -> tuple[int, dict[str, Any]]:
        """Post *body* (bytes, or a value for JSON); return status and parsed response."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()} if key else {}
        response = self.ask("POST", path, raw, {**sent, **(headers or {})}, query, address)
        return response["statusCode"], json.loads(response["body"])


def win(**fields: Any) -> dict[str, Any]:
    """Return a track call of a win."""
    return {"userId": "anna", "event": "game_result", "properties": {"outcome": "win", "stake": 5}, **fields}
