"""Builds the Refresher from its settings: the only place that creates its client."""

from typing import Any

from pymongo import MongoClient

from refresher.handler import Deps
from shared.clock import now_ms
from shared.observability import observe
from shared.settings import Settings

# One aggregation over all customers may run for minutes; a function lives for fifteen.
SOCKET_TIMEOUT_MS = 14 * 60_000


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    client: MongoClient[dict[str, Any]] = MongoClient(
        settings.mongodb_url,
        connect=False,
        maxPoolSize=2,
        serverSelectionTimeoutMS=10_000,
        socketTimeoutMS=SOCKET_TIMEOUT_MS,
        w="majority",
        tz_aware=True,
    )
    return Deps(database=client[settings.mongodb_database], clock=now_ms, observability=observe("refresher"))
