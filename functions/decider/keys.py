"""Build every Redis key. No other module does.

The hash tag is a partition, not the user. All keys of a partition share a slot, so one script can change a user's row
together with the partition's own keys, and a sweep can walk all partitions without scanning.
"""

import hashlib

PARTITIONS = 1024


def partition(site: str, user: str) -> int:
    """Return the partition of a user, 0 … 1023. It never changes, and is the same on every machine."""
    digest = hashlib.blake2b(f"{site}\0{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PARTITIONS


def row(number: int, site: str, user: str) -> str:
    """Return the key of the row of a user in partition *number*."""
    return f"{{p{number}}}:u:{site}:{user}"


def timers(number: int) -> str:
    """Return the key of a partition's timers."""
    return f"{{p{number}}}:timers"


def unacknowledged(number: int) -> str:
    """Return the key of a partition's unacknowledged activations."""
    return f"{{p{number}}}:act"


def counters(number: int) -> str:
    """Return the key of a partition's counters."""
    return f"{{p{number}}}:n"


def drained_counters(number: int) -> str:
    """Return the key of counters that were drained and are not yet known to be in MongoDB."""
    return f"{{p{number}}}:n:drained"


def in_progress(number: int, site: str) -> str:
    """Return the key of a site's users with progress, in a partition."""
    return f"{{p{number}}}:w:{site}"


def message_digest(message_id: str) -> bytes:
    """Return the 8 bytes by which a row remembers a message id."""
    return hashlib.blake2b(message_id.encode(), digest_size=8).digest()
