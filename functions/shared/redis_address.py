"""Resolve the setting with the state store's address: one without a password, or the ARN of a secret.

Everyone who may view a function sees its environment, so it must not contain a password.
"""

from collections.abc import Callable
from urllib.parse import SplitResult, parse_qs, urlsplit

from shared import secrets
from shared.errors import InvalidSettings

SCHEMES = ("redis", "rediss")
CREDENTIALS = {"username", "password"}
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one; see `shared.secrets.resolve`.

    Raises `InvalidSettings`, without quoting the address, if it is not valid, or if it contains a password outside a
    secret. Addresses on this machine may contain one.
    """
    found = secrets.resolve(value, read)
    parts = _split(found)
    if parts is None:
        raise InvalidSettings(
            "is neither a Redis address (rediss://HOST:PORT) nor the ARN of a secret that holds one "
            "(rediss://USER:PASSWORD@HOST:PORT, with special characters of the password as %XX)"
        )
    if found == value and parts.hostname not in LOCAL_HOSTS and _holds_credentials(parts):
        raise InvalidSettings(
            "contains credentials, which everyone who may view the function can read: store the address in a secret "
            "and set its ARN"
        )
    return found


def _split(address: str) -> SplitResult | None:
    """Return the parts of a Redis *address*; ``None`` if it is not valid."""
    try:
        parts = urlsplit(address)
        # An @ after the host means that the password contains an unescaped character.
        escaped = "@" not in parts.path + parts.query + parts.fragment
        is_valid = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0 and escaped
    except ValueError:  # its message may quote a part of the password as the port
        return None
    return parts if is_valid else None


def _holds_credentials(parts: SplitResult) -> bool:
    return "@" in parts.netloc or not CREDENTIALS.isdisjoint(parse_qs(parts.query))
