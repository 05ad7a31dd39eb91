"""Build the Gateway's dependencies from its settings. Only this module creates its clients."""

from pathlib import Path

from aws_lambda_powertools.metrics import MetricUnit

from gateway.decider_client import DeciderClient, fetch_catalogue
from gateway.origin_secret import OriginSecret
from gateway.ports import Deps
from gateway.rate_limiter import RateLimiter
from gateway.tag import Tag
from gateway.trusted_proxy import TrustedProxy
from shared.contracts import Catalogue
from shared.invoke import LambdaInvoke, lambda_client
from shared.observability import Observability, observe
from shared.refreshing_cache import RefreshingCache
from shared.secrets import LazySecret, resolve_versions
from shared.settings import Settings
from shared.signing import check_secret

ASSETS = Path(__file__).parent / "assets"  # written by `make build` and by the local system


def build(settings: Settings) -> Deps:
    """Return everything the handler needs. Only the origin secret is read here, because every request needs it."""
    observability = observe("gateway")
    client = lambda_client(read_timeout_s=settings.gateway_timeout_ms / 1000)
    decider = LambdaInvoke(client, settings.decider_function)
    catalogue: RefreshingCache[Catalogue] = RefreshingCache(
        lambda known: fetch_catalogue(decider, known),
        every_s=settings.poll_seconds,
        clock=settings.clock,
        on_error=lambda error: observability.logger.warning("catalogue not refreshed", extra={"code": error.code}),
    )
    return Deps(
        decider=DeciderClient(decider, catalogue, settings.clock, settings.gateway_timeout_ms),
        rate_limiter=RateLimiter(settings.events_per_second, settings.clock),
        clock=settings.clock,
        observability=observability,
        trusted_proxy=_build_trusted_proxy(settings, observability),
        identity_secret=LazySecret(settings.identity_secret, settings.clock),
        tag=Tag.load(ASSETS),
    )


def _build_trusted_proxy(settings: Settings, observability: Observability) -> TrustedProxy:
    if not settings.origin_secret:
        return TrustedProxy(proxies=settings.proxies)
    logger, metrics = observability.logger, observability.metrics
    secret = OriginSecret(
        lambda: [check_secret(each, "OPPORTUNE_ORIGIN_SECRET") for each in resolve_versions(settings.origin_secret)],
        settings.clock,
        lambda error: logger.warning("origin secret not read", extra={"code": error.code, "reason": error.message}),
    )
    secret.refresh()
    return TrustedProxy(
        proxies=settings.proxies,
        secret=secret,
        allow_direct=settings.direct_requests,
        on_direct=lambda: metrics.add_metric(name="DirectRequests", unit=MetricUnit.Count, value=1),
    )
