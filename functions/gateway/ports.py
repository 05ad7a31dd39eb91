"""What the Gateway works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.decider_client import Decisions
from gateway.rate_limiter import Rates
from gateway.tag import Tag
from gateway.trusted_proxy import Front
from shared.clock import Clock
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler and the endpoints work with; ``identity_secret``: see `Verifier`."""

    decisions: Decisions
    rates: Rates
    clock: Clock
    observability: Observability
    front: Front = field(default_factory=Front)
    identity_secret: Callable[[], str] = str
    tag: Tag = field(default_factory=Tag)
