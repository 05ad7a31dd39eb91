"""The Refresher's Lambda handler: the targets of one site, or of all, made anew."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from pymongo.database import Database

from refresher.refresh import Refreshed, refresh
from shared import mongodb
from shared.clock import Clock
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.observability import Observability

Handler = Callable[[dict[str, Any], Any], Any]


@dataclass(frozen=True)
class Deps:
    """What the handler works with."""

    database: Database[Document]
    clock: Clock
    observability: Observability


class RefreshFailed(OpportuneError):
    """Some sites kept their old targets; the others have new ones. The log has each one's reason."""

    code = "refresh_failed"
    retryable = True


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:  # noqa: ARG001 - Lambda's signature
        metrics.add_metric(name="RefreshesBegun", unit=MetricUnit.Count, value=1)
        return {"sites": {site: done._asdict() for site, done in _refresh(_sites(event, deps), deps).items()}}

    bound: Handler = handler  # the decorators lose the type
    return bound


def _sites(event: dict[str, Any], deps: Deps) -> list[str]:
    known = sorted(site for site, current in mongodb.pointers(deps.database).items() if current.ruleset)
    site = event.get("site")
    if site is None:
        return known
    if site not in known:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")
    return [site]


def _refresh(sites: list[str], deps: Deps) -> dict[str, Refreshed]:
    logger, metrics = deps.observability.logger, deps.observability.metrics
    done: dict[str, Refreshed] = {}
    failed: list[str] = []
    for site in sites:
        try:
            done[site] = refresh(deps.database, site, now=deps.clock())
        except OpportuneError as error:
            failed.append(site)
            logger.error(  # noqa: TRY400 - expected failures have a code, not a traceback
                "targets not refreshed", extra={"site": site, "code": error.code, "why": str(error)}
            )
        else:
            logger.info("targets refreshed", extra={"site": site, **done[site]._asdict()})
    metrics.add_metric(name="SitesRefreshed", unit=MetricUnit.Count, value=len(done))
    metrics.add_metric(name="SitesNotRefreshed", unit=MetricUnit.Count, value=len(failed))
    if failed:
        raise RefreshFailed(f"targets of {', '.join(failed)} were not refreshed")
    return done
