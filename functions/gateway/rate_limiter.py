"""Limit how much one address may send with a public key: token buckets in memory, approximate and without calls.

Each environment of the function has its own buckets, and Lambda sends an address's requests to any of them. With N
environments, an address gets between one and N times its rate. docs/edge.md has the arithmetic.

A bucket holds ten seconds of its rate. A batch larger than that is accepted when the bucket is full. The bucket then
goes negative and must refill before it accepts more.
"""

import math
from collections import OrderedDict
from ipaddress import AddressValueError, IPv6Address

from shared.clock import Clock
from shared.errors import TooManyRequests

BURST_S = 10
MAX_BUCKETS = 10_000  # 3 MB; a client with more addresses than this gets full buckets again


class RateLimiter:
    """Token buckets that each refill with *per_second* events a second."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._per_ms = per_second / 1000
        self._capacity = float(per_second * BURST_S)
        self._clock = clock
        # (key, network) → (tokens, when they were counted in ms). The least recently used come first.
        self._buckets: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def acquire(self, key: str, address: str, events: int) -> None:
        """Take *events* from the bucket of *key* and *address*; raise `TooManyRequests` if it has too few."""
        name = (key, mask_address(address))
        now = self._clock()
        tokens, counted_at = self._buckets.get(name, (self._capacity, now))
        tokens = min(self._capacity, tokens + max(0, now - counted_at) * self._per_ms)
        missing = min(events, self._capacity) - tokens
        if missing <= 0:
            tokens -= events
        self._buckets[name] = tokens, now
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        if missing > 0:
            raise TooManyRequests(
                "too many events from this address; retry later with the same message ids",
                after_s=math.ceil(missing / self._per_ms / 1000),
            )

    def __len__(self) -> int:
        return len(self._buckets)


def mask_address(address: str) -> str:
    """Return what an address is counted by: IPv4 in full, IPv6 by the 64 bits that a provider assigns a customer."""
    if ":" not in address:
        return address[:64]
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address[:64]
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
