"""Write keys: which site a request belongs to, and whether it may say what only servers may."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.contracts import Catalogue, SiteCatalogue, write_key
from shared.errors import Unauthorized


class Access(NamedTuple):
    """The site that a write key opens. ``secret``: the key is a server's."""

    site: str
    catalogue: SiteCatalogue
    secret: bool


def presented_key(authorization: str, body: Mapping[str, Any], query: Mapping[str, str]) -> str:
    """Return the write key of a request: Basic user name, then ``writeKey`` of body, then of the query."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            # Some clients leave out the colon, some the padding.
            key = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode().partition(":")[0]
        except ValueError as error:  # not ASCII, not base64, not UTF-8
            raise Unauthorized("the Authorization header is not valid Basic authentication") from error
        if key:
            return key
    in_body = body.get("writeKey")
    key = in_body if isinstance(in_body, str) and in_body else query.get("writeKey", "")
    if not key:
        raise Unauthorized(
            "a write key is needed: Basic user name, or 'writeKey' in body or query", code="no_write_key"
        )
    return key


def admit(key: str, catalogue: Catalogue) -> Access:
    """Return what *key* opens; raises `Unauthorized` where no site has it."""
    digest = write_key(key).sha256
    for site, entry in catalogue.sites.items():
        for known in entry.keys:
            if known.sha256 == digest:
                return Access(site, entry, known.secret)
    raise Unauthorized("no site has this write key")
