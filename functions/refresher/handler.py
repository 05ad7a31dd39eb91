"""The Refresher's Lambda handler: refresh the targets of one site or of all, and invoke itself for the rest.

{}                                           the daily schedule: everything, of every site
{"site": "shop", "requested": ["changed"]}   what a publish has changed; see `refresher.plan` for other requests
{"sites": ["shop", …], "requested": […]}     sites that another invocation had no time for
"""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from refresher.lease import request_refresh
from refresher.parts import MAX_PART_MS
from refresher.plan import ALL
from refresher.ports import Deps
from refresher.refresh import End, Refreshed, RefreshOptions, refresh
from shared import mongodb
from shared.errors import InvalidRequest, OpportuneError

Handler = Callable[[dict[str, Any], Any], Any]

# The time that one part may take, and as much again for the last steps and the next invocation.
MIN_TIME_LEFT_MS = 2 * MAX_PART_MS


class RefreshFailed(OpportuneError):
    """Some sites kept their old targets. The log has the reason for each; the others have new targets."""

    code = "refresh_failed"
    retryable = True


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        metrics.add_metric(name="RefreshesBegun", unit=MetricUnit.Count, value=1)
        requested = [str(each) for each in event.get("requested", [ALL])]
        options = RefreshOptions(
            owner=context.aws_request_id,
            clock=deps.clock,
            has_time=lambda: context.get_remaining_time_in_millis() > MIN_TIME_LEFT_MS,
            part_size=deps.part_size,
        )
        sites = _select_sites(event, deps)
        for site in sites:  # stored first, so a request survives if this invocation dies
            request_refresh(deps.database, site, *requested)
        done, remaining = _refresh_sites(sites, options, deps)
        if remaining:
            logger.info("no time left: continuing in another invocation", extra={"sites": remaining})
            deps.invoke_async(context.invoked_function_arn, {"sites": remaining, "requested": []})
        return {"sites": {site: [each._asdict() for each in generations] for site, generations in done.items()}}

    bound: Handler = handler  # the decorators lose the type
    return bound


def _select_sites(event: dict[str, Any], deps: Deps) -> list[str]:
    known = sorted(site for site, current in mongodb.read_pointers(deps.database).items() if current.ruleset)
    if "sites" in event:
        return [site for site in event["sites"] if site in known]
    site = event.get("site")
    if site is None:
        return known
    if site not in known:
        raise InvalidRequest(f"nothing was ever published for site {site!r}: publish first", code="unknown_site")
    return [site]


def _refresh_sites(
    sites: list[str], options: RefreshOptions, deps: Deps
) -> tuple[dict[str, list[Refreshed]], list[str]]:
    """Return the new generations by site, and the sites that another invocation must continue."""
    logger, metrics = deps.observability.logger, deps.observability.metrics
    done: dict[str, list[Refreshed]] = {}
    remaining: list[str] = []
    failed: list[str] = []
    for site in sites:
        if done and not options.has_time():
            remaining.append(site)
            continue
        try:
            result = refresh(deps.database, site, (), options)
        except OpportuneError as error:
            failed.append(site)
            logger.error(  # noqa: TRY400 - expected failures have a code, not a traceback
                "targets not refreshed", extra={"site": site, "code": error.code, "why": str(error)}
            )
            continue
        done[site] = result.generations
        if result.end is End.NO_TIME:
            remaining.append(site)
        for generation in result.generations:
            logger.info("targets refreshed", extra={"site": site, **generation._asdict()})
        if result.end is End.ELSEWHERE:
            logger.info("another refresh is running and will do what was requested", extra={"site": site})
    metrics.add_metric(name="SitesRefreshed", unit=MetricUnit.Count, value=sum(map(bool, done.values())))
    metrics.add_metric(name="SitesNotRefreshed", unit=MetricUnit.Count, value=len(failed))
    if failed:
        raise RefreshFailed(f"targets of {', '.join(failed)} were not refreshed; see the log for the reasons")
    return done, remaining
