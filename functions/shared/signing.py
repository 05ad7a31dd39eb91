"""Sign unsubscribe links, webhooks and proofs of identity. Each purpose and each site has its own key.

    token = base64url( first 16 bytes of HMAC-SHA256(key, payload) + payload ), payload = site NUL channel NUL user

Creating a token requires the secret; the key of a site's webhooks is not enough. A token never expires, because
unsubscribing must also work in an e-mail that is years old.
"""

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from shared.errors import InvalidSettings

MIN_SECRET_LENGTH = 32
MAC_BYTES = 16
MAX_TOKEN_LENGTH = 2048
FORGOTTEN = "forgotten"
_UNSUBSCRIBE, _WEBHOOK, _IDENTITY = "unsubscribe", "webhook", "identity"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+")


class Subscription(NamedTuple):
    """The messages of one channel from a site to a user, which a token can end."""

    site: str
    user: str
    channel: str


def check_secret(secret: str, setting: str = "OPPORTUNE_SIGNING_SECRET") -> str:
    """Return *secret*; raise `InvalidSettings`, without quoting it, if it is too short."""
    if len(secret) < MIN_SECRET_LENGTH:
        raise InvalidSettings(f"{setting} needs {MIN_SECRET_LENGTH} characters or more")
    return secret


def pseudonym(secret: str, site: str, user: str) -> str:
    """Return the pseudonym of a forgotten *user*: a hash that cannot be computed without *secret*."""
    key = hmac.digest(check_secret(secret).encode(), f"opportune\0pseudonym\0{site}".encode(), "sha256")
    return f"{FORGOTTEN}:{hmac.digest(key, user.encode(), 'sha256').hex()[:32]}"


def unsubscribe_token(secret: str, site: str, user: str, channel: str) -> str:
    """Return the token that ends the messages of *channel* from *site* to *user*; it can be part of a URL's path.

    It is signed, not encrypted: its holder can read the user id. Raises `InvalidSettings`.
    """
    payload = f"{site}\0{channel}\0{user}".encode()
    token = base64.urlsafe_b64encode(_mac(secret, site, payload) + payload)
    return token.rstrip(b"=").decode()


def read_token(secret: str, token: str) -> Subscription | None:
    """Return the subscription in *token*; ``None`` if it was not made with *secret*. Raises `InvalidSettings`."""
    if len(token) > MAX_TOKEN_LENGTH or not _TOKEN.fullmatch(token) or len(token) % 4 == 1:
        return None
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
    try:
        site, channel, user = payload.decode().split("\0", 2)
    except ValueError:  # not UTF-8, or not three parts
        return None
    if not hmac.compare_digest(mac, _mac(secret, site, payload)):
        return None
    # Unused bits at the end of base64 may differ, but a subscription has exactly one valid token.
    return Subscription(site, user, channel) if token == unsubscribe_token(secret, site, user, channel) else None


def webhook_key(secret: str, site: str) -> str:
    """Return the key of *site*'s webhooks: 64 hexadecimal digits, which the receiver uses as text."""
    return _derive_key(secret, _WEBHOOK, site).hex()


def identity_key(secret: str, site: str, key_id: str) -> str:
    """Return the key with which *site*'s servers prove user ids: 64 hexadecimal digits, used as text.

    secret: ``OPPORTUNE_IDENTITY_SECRET``. The public edge has it, but not the secret that signs links.
    """
    key = check_secret(secret, "OPPORTUNE_IDENTITY_SECRET").encode()
    return hmac.digest(key, f"opportune\0{_IDENTITY}\0{site}\0{key_id}".encode(), "sha256").hex()


def user_hash(key: str, user: str) -> str:
    """Return the HMAC-SHA256 of the id *user* in hexadecimal. It proves the user and never expires."""
    return hmac.digest(key.encode(), user.encode(), "sha256").hex()


def webhook_signature(key: str, at_s: int, body: bytes) -> str:
    """Return the value of ``Opportune-Signature``: ``t=<unix s>,v1=<hex>``, the HMAC-SHA256 of ``t.body``.

    key: used as ASCII text.
    """
    digest = hmac.new(key.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def _mac(secret: str, site: str, payload: bytes) -> bytes:
    return hmac.digest(_derive_key(secret, _UNSUBSCRIBE, site), payload, "sha256")[:MAC_BYTES]


def _derive_key(secret: str, purpose: str, site: str) -> bytes:
    return hmac.digest(check_secret(secret).encode(), f"opportune\0{purpose}\0{site}".encode(), "sha256")
