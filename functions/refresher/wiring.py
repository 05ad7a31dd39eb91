"""Builds the Refresher from its settings: the only place that creates its clients."""

from typing import Any

import boto3
import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from pymongo import MongoClient

from refresher.handler import Deps
from refresher.parts import LONGEST_PART_MS
from shared.errors import Unavailable
from shared.invoke import once
from shared.mongodb import TYPES
from shared.observability import observe
from shared.settings import Settings

# MongoDB ends a part that takes longer by itself; then we are to be there still.
SOCKET_TIMEOUT_MS = LONGEST_PART_MS + 10_000


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
        type_registry=TYPES,
    )
    return Deps(
        database=client[settings.mongodb_database],
        clock=settings.clock,
        hand_over=hand_over,
        observability=observe("refresher"),
    )


def hand_over(function: str, payload: dict[str, Any]) -> None:
    """Invoke *function* (ARN) with *payload*, and do not wait for it; raises `Unavailable`."""
    try:
        client = boto3.client("lambda", config=once(read_timeout_s=5))
        client.invoke(FunctionName=function, InvocationType="Event", Payload=msgspec.json.encode(payload))
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"{function} was not invoked: {type(error).__name__}") from error
