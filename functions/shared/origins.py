"""The origins of pages, and which of them a write key allows.

An origin is ``scheme://host`` with an optional port, as browsers send it. Text with a user name, a path, a query or
several origins is not an origin. This refuses ``https://evil.example/.shop.example``.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_ORIGIN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<wildcard>\*\.)?(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_LENGTH = 255
MAX_PORT = 65_535


class Origin(NamedTuple):
    """An origin, in lower case. ``port``: 0 for the scheme's own. ``wildcard``: any subdomain, but not the host."""

    scheme: str
    host: str
    port: int
    wildcard: bool = False

    def covers(self, other: "Origin") -> bool:
        """Return whether a key for this origin may be used by a page of *other*."""
        if (self.scheme, self.port) != (other.scheme, other.port) or other.wildcard:
            return False
        return other.host.endswith(f".{self.host}") if self.wildcard else other.host == self.host


def parse(text: str) -> Origin | None:
    """Return the origin in *text*; that of a key may begin with ``*.``; ``None`` if it is not one."""
    found = _ORIGIN.fullmatch(text.lower()) if len(text) <= MAX_LENGTH and text.isascii() else None
    if found is None:
        return None
    port = int(found["port"] or 0)
    if port > MAX_PORT or (found["wildcard"] and found["host"].startswith("[")):
        return None
    if port == _DEFAULT_PORTS.get(found["scheme"]):
        port = 0
    return Origin(found["scheme"], found["host"], port, wildcard=found["wildcard"] is not None)


# Only of keys, because anyone may send any origin.
_parse_allowed = lru_cache(maxsize=1024)(parse)


def is_allowed(sent: str, allowed: list[str]) -> bool:
    """Return whether one of the *allowed* origins covers the origin that a browser *sent*."""
    origin = parse(sent)
    if origin is None or origin.wildcard:
        return False
    return any(each is not None and each.covers(origin) for each in map(_parse_allowed, allowed))
