"""How many users are on the way, for people who are about to change a trigger."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from decider import keys
from decider.scripts import Script

Run = Callable[..., Any]  # `UserStateStore.run`: a script, its keys and arguments

PROGRESS = Script("count-progress-1.lua")


def count_in_progress(run: Run, site: str, now: int) -> dict[str, int]:
    """Return how many users have progress at *now* (ms) under each trigger of *site*, by its key.

    One short command a partition: nothing that decides meanwhile waits for long.
    """
    found = Counter[str]()
    for number in range(keys.PARTITIONS):
        counts = msgspec.msgpack.decode(run(PROGRESS, keys.on_the_way(number, site), now))
        found.update(dict(zip(counts[::2], counts[1::2], strict=True)))
    return dict(found)
