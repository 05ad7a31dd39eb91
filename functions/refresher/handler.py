"""The Refresher's Lambda handler: the targets of one site, or of all, made anew; what is left is handed to the next.

{}                                        the daily schedule: everything, of every site
{"site": "shop", "wishes": ["changed"]}   what a publish has changed; others see `refresher.plan`
{"sites": ["shop", …], "wishes": […]}     what another invocation had no time for
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from pymongo.database import Database

from refresher.lease import wish
from refresher.parts import LONGEST_PART_MS, PART
from refresher.plan import ALL
from refresher.refresh import End, Refreshed, Way, refresh
from shared import mongodb
from shared.clock import Clock
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.observability import Observability

Handler = Callable[[dict[str, Any], Any], Any]

# What a part may take, and as much again for the last steps and for handing over.
TIME_LEFT_MS = 2 * LONGEST_PART_MS


@dataclass(frozen=True)
class Deps:
    """What the handler works with.

    ``invoke_async`` invokes a function (ARN) with a payload, and does not wait. ``part``: users of one part.
    """

    database: Database[Document]
    clock: Clock
    hand_over: Callable[[str, dict[str, Any]], None]
    observability: Observability
    part: int = PART


class RefreshFailed(OpportuneError):
    """Some sites kept their old targets; the others have new ones. The log has each one's reason."""

    code = "refresh_failed"
    retryable = True


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        metrics.add_metric(name="RefreshesBegun", unit=MetricUnit.Count, value=1)
        wishes = [str(each) for each in event.get("wishes", [ALL])]
        way = Way(
            owner=context.aws_request_id,
            clock=deps.clock,
            may_go_on=lambda: context.get_remaining_time_in_millis() > TIME_LEFT_MS,
            part=deps.part,
        )
        sites = _sites(event, deps)
        for site in sites:  # written down first: whatever happens to us, nobody has to ask again
            wish(deps.database, site, *wishes)
        done, left = _refresh(sites, way, deps)
        if left:
            logger.info("no time left: handed over", extra={"sites": left})
            deps.hand_over(context.invoked_function_arn, {"sites": left, "wishes": []})
        return {"sites": {site: [each._asdict() for each in made] for site, made in done.items()}}

    bound: Handler = handler  # the decorators lose the type
    return bound


def _sites(event: dict[str, Any], deps: Deps) -> list[str]:
    known = sorted(site for site, current in mongodb.read_pointers(deps.database).items() if current.ruleset)
    if "sites" in event:
        return [site for site in event["sites"] if site in known]
    site = event.get("site")
    if site is None:
        return known
    if site not in known:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")
    return [site]


def _refresh(sites: list[str], way: Way, deps: Deps) -> tuple[dict[str, list[Refreshed]], list[str]]:
    """Return what was made at each site, and the sites that somebody has to go on with."""
    logger, metrics = deps.observability.logger, deps.observability.metrics
    done: dict[str, list[Refreshed]] = {}
    left: list[str] = []
    failed: list[str] = []
    for site in sites:
        if done and not way.may_go_on():
            left.append(site)
            continue
        try:
            outcome = refresh(deps.database, site, (), way)
        except OpportuneError as error:
            failed.append(site)
            logger.error(  # noqa: TRY400 - expected failures have a code, not a traceback
                "targets not refreshed", extra={"site": site, "code": error.code, "why": str(error)}
            )
            continue
        done[site] = outcome.made
        if outcome.end is End.NO_TIME:
            left.append(site)
        for made in outcome.made:
            logger.info("targets refreshed", extra={"site": site, **made._asdict()})
        if outcome.end is End.ELSEWHERE:
            logger.info("another refresh is at it, and sees to what was asked", extra={"site": site})
    metrics.add_metric(name="SitesRefreshed", unit=MetricUnit.Count, value=sum(map(bool, done.values())))
    metrics.add_metric(name="SitesNotRefreshed", unit=MetricUnit.Count, value=len(failed))
    if failed:
        raise RefreshFailed(f"targets of {', '.join(failed)} were not refreshed")
    return done, left
