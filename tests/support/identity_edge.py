"""A Gateway whose keys have all modes of identity, and proofs for it."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import jwt
import msgspec

from gateway.decider_client import DeciderClient, fetch_catalogue
from gateway.handler import create_handler
from gateway.ports import Deps
from gateway.rate_limiter import RateLimiter
from shared.contracts import (
    Catalogue,
    Decide,
    Decided,
    DeciderRequest,
    Decision,
    Event,
    GetCatalogue,
    SiteCatalogue,
    write_key,
)
from shared.errors import Unavailable
from shared.identities import Identification, Identity, IdentityKey
from shared.observability import observe
from shared.refreshing_cache import RefreshingCache
from shared.signing import identity_key, user_hash
from tests.support.lambdas import Context, http_event

NOW = 1_790_000_000_000
SECRET = "0123456789abcdef0123456789abcdef"
TRAITS = {"first_name": "Anna", "tier": "vip"}
MODES = ("off", "log", "enforce")


class Edge:
    """A Gateway with a public key for each mode, and a fake Decider that records its requests."""

    def __init__(self, visitor_cookie: str = "") -> None:
        self.asked: list[Decide] = []
        self.is_secret_there = True
        keys = [write_key(f"wk_{mode}", identity=mode) for mode in MODES]
        identity = Identity(
            [IdentityKey("spring", "HS256"), IdentityKey("hash", "user_hash")], ["first_name"], visitor_cookie
        )
        site = SiteCatalogue([*keys, write_key("sk", secret=True)], {"win": ["stake"]}, identity)
        self.catalogue = Catalogue({"demo": site})
        polled: RefreshingCache[Catalogue] = RefreshingCache(
            lambda _: fetch_catalogue(self.decider), every_s=10, clock=lambda: NOW, on_error=print
        )
        decisions = DeciderClient(self.decider, polled, lambda: NOW, 2000)
        self.handler = create_handler(
            Deps(
                decisions, RateLimiter(1000, lambda: NOW), lambda: NOW, observe("gateway"), identity_secret=self.secret
            )
        )

    def secret(self) -> str:
        """Return the secret, or raise `Unavailable`."""
        if not self.is_secret_there:
            raise Unavailable("the secret arn:secret cannot be read")
        return SECRET

    def decider(self, payload: bytes) -> bytes:
        """Return an empty decision per event."""
        request = msgspec.json.decode(payload, type=DeciderRequest)
        if isinstance(request, GetCatalogue):
            return msgspec.json.encode(self.catalogue)
        assert isinstance(request, Decide)
        self.asked.append(request)
        return msgspec.json.encode(Decided([self.decision(each) for each in request.events]))

    def decision(self, event: Event) -> Decision:
        """Return an empty decision, or an error for the user ``busy``."""
        if event.user == "busy":
            return Decision(event.message_id, code="rate_limited", message="too many", retry_after_s=7)
        return Decision(event.message_id)

    def post(self, key: str, path: str, cookies: Sequence[str] = (), **body: Any) -> tuple[int, dict[str, Any]]:
        """Post *body*; return status and response."""
        response = self.respond(key, path, cookies, body)
        return response["statusCode"], json.loads(response["body"])

    def respond(
        self, key: str, path: str, cookies: Sequence[str], body: dict[str, Any], **headers: str
    ) -> dict[str, Any]:
        """Post *body* and return the whole response, as API Gateway gets it."""
        headers["authorization"] = "Basic " + base64.b64encode(f"{key}:".encode()).decode()
        request = http_event("POST", path, json.dumps(body).encode(), headers)
        return self.handler({**request, "cookies": [*cookies]} if cookies else request, Context())

    def pixel(self, query: dict[str, str]) -> str:
        """Get a pixel, and return its error."""
        response = self.handler(http_event("GET", "/v1/pixel/track", b"", query=query), Context())
        assert response["statusCode"] == 200
        return str(response["headers"].get("X-Opportune-Error", ""))

    def event(self, key: str, **body: Any) -> Event:
        """Post one event and return it as the Decider receives it."""
        assert self.post(key, "/v1/track", event="win", **body)[0] == 200
        (event,) = self.asked[-1].events
        return event

    def identifications(self) -> list[Identification]:
        """Return every identification that the Decider was sent."""
        return [item for request in self.asked for item in request.items if isinstance(item, Identification)]


def proof(key: str, user: str = "anna", **claims: Any) -> dict[str, Any]:
    """Return a context with a good token."""
    body = {"sub": user, "aud": key, "exp": NOW // 1000 + 3600, **claims}
    return {"identity_token": jwt.encode(body, identity_key(SECRET, "demo", "spring"), algorithm="HS256")}


def hashed(user: str = "anna") -> dict[str, Any]:
    """Return a context with a good hash."""
    return {"user_hash": user_hash(identity_key(SECRET, "demo", "hash"), user)}
