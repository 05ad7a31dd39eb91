"""Builds the Gateway from its settings: the only place that creates its clients."""

from pathlib import Path

from gateway.decisions import Decisions, ask_catalogue
from gateway.deps import Deps
from gateway.rates import Rates
from gateway.tag import Tag
from shared.contracts import Catalogue
from shared.invoke import LambdaInvoke, lambda_client
from shared.observability import observe
from shared.polled import Polled
from shared.secrets import LateSecret
from shared.settings import Settings

ASSETS = Path(__file__).parent / "assets"  # made by `make build`, and by whatever starts the system here


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    observability = observe("gateway")
    client = lambda_client(read_timeout_s=settings.gateway_timeout_ms / 1000)
    decider = LambdaInvoke(client, settings.decider_function)
    catalogue: Polled[Catalogue] = Polled(
        lambda _: ask_catalogue(decider),
        every_s=settings.poll_seconds,
        clock=settings.clock,
        on_error=lambda error: observability.logger.warning("catalogue not refreshed", extra={"code": error.code}),
    )
    return Deps(
        decisions=Decisions(decider, catalogue, settings.clock, settings.gateway_timeout_ms),
        rates=Rates(settings.events_per_second, settings.clock),
        clock=settings.clock,
        observability=observability,
        proxies=settings.proxies,
        identity_secret=LateSecret(settings.identity_secret, settings.clock),
        tag=Tag.read(ASSETS),
    )
