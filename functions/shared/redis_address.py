"""The address of the state store, as a setting: entered by IAM or without a password, or in a secret.

Whoever may look at a function sees its environment, so no password may be in it.
"""

from collections.abc import Callable
from urllib.parse import SplitResult, parse_qs, urlsplit

from shared import secrets
from shared.errors import InvalidSettings

SCHEMES = ("redis", "rediss")
CREDENTIALS = {"username", "password"}
HERE = ("127.0.0.1", "localhost", "::1")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one, see `shared.secrets.resolve`.

    Raises `InvalidSettings` for what is no address of Redis, and for one with a password that is in no secret, unless
    it is of this machine; its message quotes nothing.
    """
    found = secrets.resolve(value, read)
    parts = _split(found)
    if parts is None:
        raise InvalidSettings(
            "is neither an address of Redis (rediss://HOST:PORT) nor the ARN of a secret that holds one "
            "(rediss://USER:PASSWORD@HOST:PORT, with %XX for each special character of the password)"
        )
    if found == value and parts.hostname not in HERE and _holds_credentials(parts):
        raise InvalidSettings(
            "holds credentials, and an environment is no place for them: put the address into a secret and give its ARN"
        )
    return found


def _split(address: str) -> SplitResult | None:
    """Return the parts of an *address*, or ``None`` where it is none of Redis."""
    try:
        parts = urlsplit(address)
        # Behind the host, an @ is the end of a password with a sign that should have been escaped.
        escaped = "@" not in parts.path + parts.query + parts.fragment
        is_one = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0 and escaped
    except ValueError:  # it would quote a part of a password as the port
        return None
    return parts if is_one else None


def _holds_credentials(parts: SplitResult) -> bool:
    return "@" in parts.netloc or not CREDENTIALS.isdisjoint(parse_qs(parts.query))
