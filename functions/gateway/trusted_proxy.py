"""What stands in front of the API, and what may be believed of it.

    client ──▶ CloudFront ── X-Origin-Verify: secret ──▶ API Gateway ──▶ Gateway
    client ─────────────────────────────────────────────▶ API Gateway ──▶ Gateway: refused

CloudFront adds a secret that nobody else has, so that nobody goes around it and what guards it. What else it says, the
client's address and the host that was asked, is believed only beside the secret.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.origin_secret import OriginSecret
from shared.errors import Forbidden

SECRET = "x-origin-verify"
FORWARDED = "x-forwarded-for"
HOST = "x-opportune-host"


class Client(NamedTuple):
    """Who asks: from which ``address``, and which ``host``."""

    address: str
    host: str


class TrustedProxy:
    """The *proxies* before the API, and the *secret* that the innermost sends, if one does.

    *direct*: requests without the secret are taken too, as from nobody's proxy; *on_direct* is called for each.
    """

    def __init__(
        self,
        *,
        proxies: int = 0,
        secret: OriginSecret | None = None,
        direct: bool = False,
        on_direct: Callable[[], None] = lambda: None,
    ) -> None:
        self._proxies = proxies
        self._secret = secret
        self._direct = direct
        self._on_direct = on_direct

    def client(self, event: Mapping[str, Any]) -> Client:
        """Return who asks in an API Gateway *event*.

        Raises `Forbidden` where a request came around CloudFront, `Unavailable` where nobody can tell.
        """
        headers: Mapping[str, str] = event.get("headers") or {}
        peer, host = event["requestContext"]["http"].get("sourceIp", ""), headers.get("host", "")
        if self._secret is None:
            return Client(_seen(headers, self._proxies, peer), host)
        sent = headers.get(SECRET, "")
        if sent and self._secret.matches(sent):
            return Client(_seen(headers, self._proxies, peer), headers.get(HOST, host))
        self._on_direct()
        if self._direct:
            return Client(peer, host)
        raise Forbidden(
            "this address takes no requests itself: send them to the public one, EndpointUrl", code="direct_request"
        )


def _seen(headers: Mapping[str, str], proxies: int, peer: str) -> str:
    """Return the client's address as the outermost of our *proxies* has seen it; else *peer*, API Gateway's."""
    if not proxies:
        return peer
    # client, proxy, …: the last one is API Gateway's peer, and what stands left of ours anybody may have said.
    seen = headers.get(FORWARDED, "").split(",")
    return _without_port(seen[-proxies - 1].strip()) if len(seen) > proxies else peer


def _without_port(address: str) -> str:
    """Return *address* alone: some proxies write ``192.0.2.1:443`` and ``[2001:db8::1]:443``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address
