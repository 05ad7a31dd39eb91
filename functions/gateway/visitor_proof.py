"""Find the proof of an anonymous id in a request: a token, or a hash in hexadecimal, of ``anon:`` and the id.

    context.anonymous_proof   counts if the call has it
    the site's cookie         else; the site's server sets it, so scripts of other pages can neither read nor forge it

`Verifier` checks the proof like that of a user id. No user id starts with ``anon:``, so no proof can serve as another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.identity import Unverified

FIELD = "anonymous_proof"


def find_proof(context: Mapping[str, Any], cookies: Sequence[str], cookie: str) -> str | Unverified:
    """Return the proof in *context*, else that in the cookie named *cookie*; else why there is none."""
    given = context.get(FIELD)
    if given is not None and given != "":
        return given if isinstance(given, str) else Unverified("malformed")
    values = {value for each in cookies for name, value in _split(each) if name == cookie and value}
    if len(values) > 1:
        return Unverified("several_cookies")
    return values.pop() if values else Unverified("missing")


def _split(cookies: str) -> list[tuple[str, str]]:
    """Return names and values of *cookies*, which may be joined. Quotes around a value are not part of it."""
    pairs = (each.partition("=") for each in cookies.split(";"))
    return [(name.strip(), value.strip().removeprefix('"').removesuffix('"')) for name, _, value in pairs]
