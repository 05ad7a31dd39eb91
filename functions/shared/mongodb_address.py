"""The address of MongoDB, as a setting: entered by IAM, or in a secret.

Whoever may look at a function sees its environment, so no password may be in it. An address that is entered by IAM
holds nothing secret: the driver signs with the credentials of the function's role, and MongoDB asks AWS whose they are.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl

from shared import secrets
from shared.errors import InvalidSettings

BY_IAM = "MONGODB-AWS"
_ADDRESS = re.compile(r"mongodb(?P<srv>\+srv)?://(?P<hosts>[^/?]+)(?:/[^?]*)?(?:\?(?P<options>.*))?")
_HERE = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?")


def resolve(value: str, read: Callable[[str, str], str] | None = None) -> str:
    """Return *value*, or the text of the secret if it is the ARN of one, see `shared.secrets.resolve`.

    Raises `InvalidSettings` for an address with a password, one that is not entered by IAM, and one without TLS; its
    message quotes nothing. The local system's are excepted: what is on this machine needs neither.
    """
    found = secrets.resolve(value, read)
    if found == value:
        _check(value)
    return found


def _check(address: str) -> None:
    _, _, behind = address.rpartition("@")  # of a password with signs that should have been escaped, too
    holds_password = behind != address
    parts = _ADDRESS.fullmatch(f"mongodb://{behind}" if holds_password else address)
    if parts is None:
        raise InvalidSettings("is neither an address of MongoDB (mongodb+srv://…) nor the ARN of a secret")
    if all(map(_HERE.fullmatch, parts["hosts"].split(","))):
        return
    options = {name.lower(): text for name, text in parse_qsl(parts["options"] or "")}
    if holds_password or "AWS_SESSION_TOKEN" in options.get("authmechanismproperties", ""):
        raise InvalidSettings(
            "holds credentials, and an environment is no place for them: put the address into a secret and give its "
            f"ARN, or leave them out and enter by IAM, with ?authMechanism={BY_IAM}"
        )
    if options.get("authmechanism") != BY_IAM:
        raise InvalidSettings(
            f"says nothing of how to enter: add ?authMechanism={BY_IAM} to enter by IAM, or give the ARN of a secret "
            "with an address that holds a password"
        )
    if "true" not in (options.get("tls"), options.get("ssl")) and not parts["srv"]:
        raise InvalidSettings("would be entered without TLS: begin it with mongodb+srv://, or add &tls=true")
