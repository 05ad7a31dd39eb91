"""Build the Refresher's dependencies from its settings. Only this module creates its clients."""

from refresher.parts import MAX_PART_MS
from refresher.ports import Deps
from shared import mongodb
from shared.invoke import invoke_async
from shared.observability import observe
from shared.settings import Settings

# MongoDB stops a part that takes longer than MAX_PART_MS; the client must still be waiting then.
SOCKET_TIMEOUT_MS = MAX_PART_MS + 10_000


def build(settings: Settings) -> Deps:
    """Return everything the handler needs. Clients connect at first use."""
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
        invoke_async=invoke_async,
        observability=observe("refresher"),
    )
