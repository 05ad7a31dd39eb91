"""The entries of a partition's agenda, as the scripts write them: JSON of a kind and the names that it needs."""

from typing import NamedTuple

import msgspec

KINDS = {"absence": 4, "handover": 1, "move": 2}  # of appointments, and how many names they have
ACK_TIMEOUT_MS = 30_000  # before what nobody has acknowledged is done again
GRACE_MS = 5_000  # before an absence falls due, for events still on their way


class Timer(NamedTuple):
    """An entry of a partition's agenda: its kind (empty: unreadable), what it names, and the entry itself."""

    partition: int
    kind: str
    names: list[str]
    member: bytes


def read(number: int, member: bytes) -> Timer:
    """Return an entry of the agenda of partition *number*; one that cannot be read has no kind and no names."""
    try:
        kind, *names = msgspec.json.decode(member, type=list[str])
    except (msgspec.MsgspecError, ValueError):
        kind, names = "", []
    if len(names) != KINDS.get(kind):
        return Timer(number, "", [], member)
    return Timer(number, kind, names, member)
