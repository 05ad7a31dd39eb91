"""The timers of a partition, as the scripts write them: JSON of a kind and its names."""

from typing import NamedTuple

import msgspec

KINDS = {"absence": 4, "handover": 1, "move": 2}  # kind → how many names it has
ACK_TIMEOUT_MS = 30_000  # after which an unacknowledged activation is handed over again
# After which a delayed activation that the store does not know counts as lost. A copy that was handed over should have
# reached the ledger by then; one that comes later replaces the record of the loss.
LOST_AFTER_MS = 900_000
GRACE_MS = 5_000  # before an absence falls due, for events that are still in transit


class Timer(NamedTuple):
    """A timer of a partition: its kind (empty if it cannot be read), its names, and the stored member itself."""

    partition: int
    kind: str
    names: list[str]
    member: bytes


def read(number: int, member: bytes) -> Timer:
    """Return a timer of partition *number*; one that cannot be read has no kind and no names."""
    try:
        kind, *names = msgspec.json.decode(member, type=list[str])
    except (msgspec.MsgspecError, ValueError):
        kind, names = "", []
    if len(names) != KINDS.get(kind):
        return Timer(number, "", [], member)
    return Timer(number, kind, names, member)
