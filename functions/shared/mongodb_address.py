"""Resolve the setting with MongoDB's address: for authentication with IAM, or the ARN of a secret.

Everyone who may view a function sees its environment, so it must not contain a password. An address for IAM contains
no secret: the driver signs with the credentials of the function's role, and MongoDB verifies them with AWS.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from shared import secrets
from shared.errors import InvalidSettings

BY_IAM = "MONGODB-AWS"
_ADDRESS = re.compile(r"mongodb(?P<srv>\+srv)?://(?P<hosts>[^/?]+)(?:/[^?]*)?(?:\?(?P<options>.*))?")
_LOCAL = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one; see `shared.secrets.resolve`.

    Raises `InvalidSettings`, without quoting the address, if it contains a password, does not use IAM, or does not use
    TLS. Addresses on this machine need none of that.
    """
    found = secrets.resolve(value, read)
    if found == value:
        _check(value)
    return found


def _check(address: str) -> None:
    _, _, after = address.rpartition("@")  # the last one, because an unescaped password may contain others
    holds_password = after != address
    parts = _ADDRESS.fullmatch(f"mongodb://{after}" if holds_password else address)
    if parts is None:
        raise InvalidSettings("is neither a MongoDB address (mongodb+srv://…) nor the ARN of a secret")
    if all(map(_LOCAL.fullmatch, parts["hosts"].split(","))):
        return
    options = {name.lower(): text for name, text in parse_qsl(parts["options"] or "")}
    if holds_password or "AWS_SESSION_TOKEN" in options.get("authmechanismproperties", ""):
        raise InvalidSettings(
            "contains credentials, which everyone who may view the function can read: store the address in a secret "
            f"and set its ARN, or remove them and authenticate with IAM (?authMechanism={BY_IAM})"
        )
    if options.get("authmechanism") != BY_IAM:
        raise InvalidSettings(
            f"does not say how to authenticate: add ?authMechanism={BY_IAM} for IAM, or set the ARN of a secret that "
            "holds an address with a password"
        )
    if "true" not in (options.get("tls"), options.get("ssl")) and not parts["srv"]:
        raise InvalidSettings("does not use TLS: start it with mongodb+srv://, or add &tls=true")
