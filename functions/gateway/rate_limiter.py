"""How much one address may send with a public key: token buckets in memory, approximate and free of calls.

Each environment of the function has buckets of its own, and Lambda sends an address's requests to any of them: with
N environments up an address gets its rate at least, and N times that at most. docs/edge.md has the arithmetic.

A bucket holds ten seconds of its rate. What takes more than that, a batch say, is taken when the bucket is full, and
leaves a debt that has to flow back first.
"""

import math
from collections import OrderedDict
from ipaddress import AddressValueError, IPv6Address

from shared.clock import Clock
from shared.errors import TooManyRequests

BURST_S = 10
MOST_BUCKETS = 10_000  # 3 MB; who has more addresses than that gets fresh buckets for them


class RateLimiter:
    """Buckets of events, *per_second* each in the long run."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._per_ms = per_second / 1000
        self._full = float(per_second * BURST_S)
        self._clock = clock
        # (key, network) → tokens, and when they were counted: ms. The longest unused come first.
        self._buckets: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def take(self, key: str, address: str, events: int) -> None:
        """Take *events* from the bucket of *key* and *address*; raises `TooManyRequests` where too few are left."""
        name = (key, network(address))
        now = self._clock()
        tokens, counted = self._buckets.get(name, (self._full, now))
        tokens = min(self._full, tokens + max(0, now - counted) * self._per_ms)
        lacking = min(events, self._full) - tokens
        if lacking <= 0:
            tokens -= events
        self._buckets[name] = tokens, now
        self._buckets.move_to_end(name)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if lacking > 0:
            raise TooManyRequests(
                "too many events from this address; send them again later, with the same message ids",
                after_s=math.ceil(lacking / self._per_ms / 1000),
            )

    def __len__(self) -> int:
        return len(self._buckets)


def network(address: str) -> str:
    """Return what an address is counted by: of IPv6 the first 64 bits, for each customer of a provider has as many."""
    if ":" not in address:
        return address[:64]
    try:
        parsed = IPv6Address(address.partition("%")[0])
    except AddressValueError:
        return address[:64]
    return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
