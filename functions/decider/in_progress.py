"""Count the users with progress under each trigger, for people who are about to change one."""

from collections import Counter

import msgspec

from decider import keys
from decider.ports import Deps
from decider.scripts import Script
from shared.contracts import CountInProgress, InProgress

COUNT = Script("count-progress-1.lua")


def count_in_progress(request: CountInProgress, deps: Deps) -> InProgress:
    """Return how many users have progress now, by trigger key.

    One short command per partition, so that events do not wait long.
    """
    now = deps.clock()
    found = Counter[str]()
    for number in range(keys.PARTITIONS):
        counts = msgspec.msgpack.decode(deps.states.run(COUNT, keys.in_progress(number, request.site), now))
        found.update(dict(zip(counts[::2], counts[1::2], strict=True)))
    return InProgress(dict(found))
