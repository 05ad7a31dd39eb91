"""The proxies in front of the API, and which of their headers to trust.

    client ──▶ CloudFront ── X-Origin-Verify: secret ──▶ API Gateway ──▶ Gateway
    client ─────────────────────────────────────────────▶ API Gateway ──▶ Gateway: refused

CloudFront adds a secret that no client knows, so clients cannot bypass CloudFront and AWS WAF. CloudFront also sends
the client's address and the requested host. The Gateway trusts these headers only together with the secret.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.origin_secret import OriginSecret
from shared.errors import Forbidden

SECRET = "x-origin-verify"
FORWARDED = "x-forwarded-for"
HOST = "x-opportune-host"


class Client(NamedTuple):
    """The sender of a request: its IP ``address`` and the ``host`` that it asked for."""

    address: str
    host: str


class TrustedProxy:
    """Identifies clients behind the proxies of a deployment.

    proxies: how many proxies are in front of API Gateway.
    secret: what the innermost of them sends; ``None`` if it sends none.
    allow_direct: accept requests without the secret too, but do not trust their headers.
    on_direct: called for each request without the secret.
    """

    def __init__(
        self,
        *,
        proxies: int = 0,
        secret: OriginSecret | None = None,
        allow_direct: bool = False,
        on_direct: Callable[[], None] = lambda: None,
    ) -> None:
        self._proxies = proxies
        self._secret = secret
        self._allow_direct = allow_direct
        self._on_direct = on_direct

    def identify_client(self, event: Mapping[str, Any]) -> Client:
        """Return the client that sent an API Gateway *event*.

        Raises `Forbidden` if the request bypassed CloudFront, and `Unavailable` if that cannot be checked.
        """
        headers: Mapping[str, str] = event.get("headers") or {}
        peer, host = event["requestContext"]["http"].get("sourceIp", ""), headers.get("host", "")
        if self._secret is None:
            return Client(_find_address(headers, self._proxies, peer), host)
        sent = headers.get(SECRET, "")
        if sent and self._secret.matches(sent):
            return Client(_find_address(headers, self._proxies, peer), headers.get(HOST, host))
        self._on_direct()
        if self._allow_direct:
            return Client(peer, host)
        raise Forbidden(
            "this address accepts no direct requests: use the public address (stack output EndpointUrl)",
            code="direct_request",
        )


def _find_address(headers: Mapping[str, str], proxies: int, peer: str) -> str:
    """Return the client's address as the outermost of our *proxies* saw it, or *peer* (API Gateway's) without one."""
    if not proxies:
        return peer
    # The list is: client, proxy, …, API Gateway's peer. A client can forge everything to the left of our proxies.
    hops = headers.get(FORWARDED, "").split(",")
    return _strip_port(hops[-proxies - 1].strip()) if len(hops) > proxies else peer


def _strip_port(address: str) -> str:
    """Return *address* without its port; some proxies write ``192.0.2.1:443`` and ``[2001:db8::1]:443``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
