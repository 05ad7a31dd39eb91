"""Write keys: find the site of a request, and whether a server sent it."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.contracts import Catalogue, SiteCatalogue, WriteKey, write_key
from shared.errors import Forbidden, NotFound, Unauthorized
from shared.origins import is_allowed


class SiteAccess(NamedTuple):
    """The site that a write key belongs to.

    key: the key's entry in the catalogue.
    sent_key: the key as the request sent it.
    """

    site: str
    catalogue: SiteCatalogue
    key: WriteKey
    sent_key: str = ""

    @property
    def trusted(self) -> bool:
        """Return whether the key is secret, so that only a server can have sent the request."""
        return self.key.secret

    def check_origin(self, origin: str) -> None:
        """Raise `Forbidden` if pages of *origin* may not use the key. Only browsers send an origin.

        This stops other sites' pages from using the key, but not programs, which can send any origin.
        """
        if not origin:
            return
        if self.trusted:
            raise Forbidden(
                "a browser sent a secret key, so every visitor of the page can read it: revoke it, and use a public "
                "key in pages",
                code="secret_key_in_browser",
            )
        if self.key.origins and not is_allowed(origin, self.key.origins):
            raise Forbidden("this write key does not allow pages of this origin", code="origin_not_allowed")

    def check_adapter(self, name: str) -> None:
        """Raise `NotFound` if the site does not accept events of the libraries of product *name*."""
        if name not in self.catalogue.adapters:
            raise NotFound(
                f"the site does not accept events of {name}: add it to 'adapters' in site.yaml", code="adapter_off"
            )


def read_write_key(authorization: str, body: Mapping[str, Any], query: Mapping[str, str]) -> str:
    """Return the write key of a request: the Basic user name, else ``writeKey`` of the body, else of the query."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "basic":
        try:
            # Some clients omit the colon, others the padding.
            key = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode().partition(":")[0]
        except ValueError as error:  # not ASCII, not base64, or not UTF-8
            raise Unauthorized("the Authorization header is not valid Basic authentication") from error
        if key:
            return key
    in_body = body.get("writeKey")
    key = in_body if isinstance(in_body, str) and in_body else query.get("writeKey", "")
    if not key:
        raise Unauthorized(
            "the request has no write key: send it as the Basic user name, or as 'writeKey' in the body or query",
            code="no_write_key",
        )
    return key


def authenticate(key: str, catalogue: Catalogue) -> SiteAccess:
    """Return the site that *key* belongs to; raise `Unauthorized` if no site has it."""
    digest = write_key(key).sha256
    for site, entry in catalogue.sites.items():
        for known in entry.keys:
            if known.sha256 == digest:
                return SiteAccess(site, entry, known, key)
    raise Unauthorized("no site has this write key")
