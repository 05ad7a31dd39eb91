"""Every Redis key, built here and nowhere else.

The hash tag is a partition, not the user: all of a partition's keys share a slot, so that one script
may touch a user's row and the partition's own keys together, and a sweeper can walk all partitions
without scanning.
"""

import hashlib

PARTITIONS = 1024


def partition(site: str, user: str) -> int:
    """Return the partition of a user, 0 … 1023: stable for all time, on every machine."""
    digest = hashlib.blake2b(f"{site}\0{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PARTITIONS


def row(number: int, site: str, user: str) -> str:
    """Return the key of the row of a user of partition *number*."""
    return f"{{p{number}}}:u:{site}:{user}"


def agenda(number: int) -> str:
    """Return the key of a partition's agenda."""
    return f"{{p{number}}}:agenda"


def unacknowledged(number: int) -> str:
    """Return the key of a partition's activations that nobody has acknowledged."""
    return f"{{p{number}}}:act"


def counters(number: int) -> str:
    """Return the key of a partition's counters."""
    return f"{{p{number}}}:n"


def taken_counters(number: int) -> str:
    """Return the key of counters that were taken away and have not arrived yet."""
    return f"{{p{number}}}:n:taken"


def on_the_way(number: int, site: str) -> str:
    """Return the key of who has progress at a site, in a partition."""
    return f"{{p{number}}}:w:{site}"


def message_digest(message_id: str) -> bytes:
    """Return the 8 bytes by which a row remembers a message id."""
    return hashlib.blake2b(message_id.encode(), digest_size=8).digest()
