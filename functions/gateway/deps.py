"""What the Gateway works with."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.decisions import Decisions
from gateway.rates import Rates
from gateway.tag import Tag
from shared.clock import Clock
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler and the endpoints work with.

    ``proxies``: how many are in front of the API. ``identity_secret``: see `Verifier`.
    """

    decisions: Decisions
    rates: Rates
    clock: Clock
    observability: Observability
    proxies: int = 0
    identity_secret: Callable[[], str] = str
    tag: Tag = field(default_factory=Tag)
