"""The Gateway's dependencies."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.decider_client import DeciderClient
from gateway.rate_limiter import RateLimiter
from gateway.tag import Tag
from gateway.trusted_proxy import TrustedProxy
from shared.clock import Clock
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler and the endpoints work with.

    identity_secret: returns ``OPPORTUNE_IDENTITY_SECRET``; see `Verifier`.
    """

    decider: DeciderClient
    rate_limiter: RateLimiter
    clock: Clock
    observability: Observability
    trusted_proxy: TrustedProxy = field(default_factory=TrustedProxy)
    identity_secret: Callable[[], str] = str
    tag: Tag = field(default_factory=Tag)
