"""Where a webhook may go: over HTTPS, to a host that the site lists, at public addresses.

Only ``https://host/path?query``, written exactly like that, is a URL here. Such checks are bypassed when two parsers
read the same odd text differently. So user names, other ports, backslashes, spaces and control characters are refused.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engager.ledger.states import Undeliverable
from shared.addresses import ascii_host

Resolve = Callable[[str], Sequence[str]]
IsPublic = Callable[[str], bool]

HTTPS_PORT = 443
URL = re.compile(
    r"https://(?P<host>[^\x00-\x20\x7f/?#:@\[\]\\%]{1,253})(?::443)?(?P<rest>(?:[/?][!-\[\]-~]*)?)", re.IGNORECASE
)
MAX_URL_LENGTH = 4096
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class Target(NamedTuple):
    """A checked URL: ``host`` in ASCII, and ``path`` with the query, as in the request line."""

    host: str
    path: str


def parse_target(url: object, hosts: Iterable[str]) -> Target:
    """Return the target of *url*, on one of *hosts*; raises `Undeliverable`: invalid_url, forbidden_host."""
    found = URL.fullmatch(url) if isinstance(url, str) and len(url) <= MAX_URL_LENGTH else None
    host = ascii_host(found["host"]) if found else None
    if found is None or host is None:
        raise Undeliverable("expected https://host/path without a user name or a port", code="invalid_url")
    if host not in {ascii_host(each) for each in hosts}:
        raise Undeliverable(f"{host} is not one of the site's webhook hosts", code="forbidden_host")
    rest = found["rest"].partition("#")[0]
    return Target(host, rest if rest.startswith("/") else f"/{rest}")


def resolve(host: str) -> list[str]:
    """Return the addresses of *host* in the system's order, each once; raises `OSError`."""
    found = socket.getaddrinfo(host, HTTPS_PORT, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_public(address: str) -> bool:
    """Return whether *address* is on the public internet, also after every translation that a router makes."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return _is_public_v4(parsed)
    if parsed.ipv4_mapped is not None:
        return _is_public_v4(parsed.ipv4_mapped)
    if parsed in NAT64:
        return _is_public_v4(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF))
    if parsed.sixtofour is not None:
        return _is_public_v4(parsed.sixtofour)
    # `ipaddress` does not count Teredo (2001::/32) as global. A scope id marks a link-local address.
    return parsed in GLOBAL_UNICAST and parsed.is_global and parsed.scope_id is None


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    # `is_global` is true for multicast addresses.
    return address.is_global and not address.is_multicast
