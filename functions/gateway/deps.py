"""What the Gateway works with."""

from dataclasses import dataclass

from gateway.decisions import Decisions
from shared.clock import Clock
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler and the endpoints work with."""

    decisions: Decisions
    clock: Clock
    observability: Observability
