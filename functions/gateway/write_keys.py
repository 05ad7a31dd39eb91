"""Write keys: which site a request belongs to, and whether it may say what only servers may."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.contracts import Catalogue, SiteCatalogue, WriteKey, write_key
from shared.errors import Forbidden, Unauthorized


class Access(NamedTuple):
    """The site that a write key opens. ``presented``: the key as it came."""

    site: str
    catalogue: SiteCatalogue
    key: WriteKey
    presented: str = ""

    @property
    def secret(self) -> bool:
        """Return whether the key is a server's."""
        return self.key.secret

    def check_origin(self, origin: str) -> None:
        """Raise `Forbidden` where a page of *origin* may not use the key; only browsers say an origin.

        This keeps other people's pages from using a key, not other people's programs: they say what they like.
        """
        if not origin:
            return
        if self.secret:
            raise Forbidden(
                "a secret key came from a browser: whoever reads the page has it; revoke it, and use a public one",
                code="secret_key_in_browser",
            )
        if self.key.origins and not any(_covers(allowed, origin) for allowed in self.key.origins):
            raise Forbidden("this write key is not for pages of this origin", code="origin_not_allowed")


def _covers(allowed: str, origin: str) -> bool:
    scheme, wildcard, domain = allowed.partition("*")
    if not wildcard:
        return origin == allowed
    return origin.startswith(scheme) and origin.endswith(domain) and len(origin) > len(scheme) + len(domain)


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


def authenticate(key: str, catalogue: Catalogue) -> Access:
    """Return what *key* opens; raises `Unauthorized` where no site has it."""
    digest = write_key(key).sha256
    for site, entry in catalogue.sites.items():
        for known in entry.keys:
            if known.sha256 == digest:
                return Access(site, entry, known, key)
    raise Unauthorized("no site has this write key")
