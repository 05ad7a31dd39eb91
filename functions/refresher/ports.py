"""The Refresher's dependencies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from refresher.parts import PART_SIZE
from shared.clock import Clock
from shared.mongodb import Document
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler works with.

    invoke_async: invokes a function (ARN) with a payload, without waiting for it.
    part_size: users per part.
    """

    database: Database[Document]
    clock: Clock
    invoke_async: Callable[[str, dict[str, Any]], None]
    observability: Observability
    part_size: int = PART_SIZE
