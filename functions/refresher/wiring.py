"""Builds the Refresher from its settings: the only place that creates its clients."""

from refresher.handler import Deps
from refresher.parts import LONGEST_PART_MS
from shared import mongodb
from shared.invoke import invoke_async
from shared.observability import observe
from shared.settings import Settings

# MongoDB ends a part that takes longer by itself; then we are to be there still.
SOCKET_TIMEOUT_MS = LONGEST_PART_MS + 10_000


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    client = mongodb.connect(
        settings.mongodb_url,
        connect=False,
        maxPoolSize=2,
        serverSelectionTimeoutMS=10_000,
        socketTimeoutMS=SOCKET_TIMEOUT_MS,
    )
    return Deps(
        database=client[settings.mongodb_database],
        clock=settings.clock,
        hand_over=invoke_async,
        observability=observe("refresher"),
    )
