"""The Decider's Lambda handler: decode a request, dispatch it by type, encode the result."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from decider import rulesets, user_admin
from decider.in_progress import count_in_progress
from decider.ingest import ingest
from decider.ports import Deps
from decider.wake import ObserveLateness, answer_doorbell, next_wakes, wake
from shared.contracts import (
    VERSION,
    Catalogue,
    CountInProgress,
    Decide,
    Decided,
    DeciderRequest,
    Doorbell,
    ForgetUser,
    GetCatalogue,
    InspectUser,
    Wake,
    Woken,
)
from shared.errors import InvalidRequest, Unavailable
from shared.observability import log_failure, log_redelivery

MAX_CATALOGUE_AGE_MS = 1000
MIN_DEADLINE_MS = 1000  # also if the caller's clock is behind ours
MAX_DEADLINE_MS = 60_000  # MongoDB refuses a limit of more than 24 days
MAX_STATS_MS = 4_000  # after that, no further daily figures are moved

Handler = Callable[[Any, Any, Deps], Any]  # request, Lambda context, dependencies


def create_handler(deps: Deps) -> Callable[[dict[str, Any], Any], Any]:
    """Return the Lambda handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        if "Records" in event:
            return answer_doorbells(event["Records"], deps)
        with log_failure(logger):
            request = read(event)
            _count("Requests", 1, deps)
            return msgspec.to_builtins(HANDLERS[type(request)](request, context, deps))

    return handler


def read(event: dict[str, Any]) -> DeciderRequest:
    """Return the request in *event*; raises `InvalidRequest` if there is none, or one of another version."""
    try:
        # msgspec analyses a union again on every call, but caches the type of one struct.
        request: DeciderRequest = msgspec.convert(event, _BY_TAG.get(str(event.get("type")), Decide))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a request to the Decider: {error}") from error
    if request.v != VERSION:
        raise InvalidRequest(f"contract version {request.v} is not {VERSION}", code="unknown_version")
    return request


def answer_doorbells(records: list[dict[str, Any]], deps: Deps) -> dict[str, Any]:
    """Answer the doorbells in messages of their queue; return the ids of those that failed, for redelivery."""
    failed = []
    for record in records:
        try:
            try:
                doorbell = msgspec.json.decode(record["body"], type=Doorbell)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise InvalidRequest(f"not a doorbell: {type(error).__name__}") from error
            _answer_doorbell(doorbell, None, deps)
        except Exception as error:  # noqa: BLE001 - one that fails must not block the others
            log_redelivery(deps.observability.logger, "doorbell", error, record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _decide(request: Decide, _: Any, deps: Deps) -> Decided:
    _count("Events", len(request.events), deps)
    # Bound MongoDB by the caller's deadline; otherwise Lambda kills the function mid-request.
    left_ms = min(max(request.deadline - deps.clock(), MIN_DEADLINE_MS), MAX_DEADLINE_MS)
    with deps.db_deadline(left_ms / 1000):
        return ingest(request, deps)


def _catalogue(_: GetCatalogue, __: Any, deps: Deps) -> Catalogue:
    # The Gateway caches the catalogue for its own interval, so an old one would reach twice the age.
    return rulesets.catalogue(deps.rulesets.get_fresh(MAX_CATALOGUE_AGE_MS))


def _wake(request: Wake, context: Any, deps: Deps) -> Woken:
    begun = deps.clock()
    try:
        woken = _count_woken(wake(request, deps, _observe_lateness(deps)), deps)
        if woken.has_more:
            _continue(request, context.invoked_function_arn, deps)
    finally:
        if not request.hop:
            # If Lambda kills the function here, the metrics of the wake are lost.
            deps.stats.drain(range(request.first, request.last + 1), lambda: deps.clock() - begun < MAX_STATS_MS)
    return woken


def _continue(request: Wake, function: str, deps: Deps) -> None:
    try:
        for each in next_wakes(request):
            deps.invoke_async(function, msgspec.to_builtins(each))
    except Unavailable as error:
        deps.log_warning("the remaining timers wait for the next wake", extra={"code": error.code})


def _answer_doorbell(doorbell: Doorbell, _: Any, deps: Deps) -> Woken:
    return _count_woken(answer_doorbell(doorbell, deps, _observe_lateness(deps)), deps)


def _observe_lateness(deps: Deps) -> ObserveLateness:
    metrics = deps.observability.metrics
    # A line of log may hold a hundred values of a metric; Powertools begins a new line by itself.
    return lambda late: metrics.add_metric(name="TimerLateness", unit=MetricUnit.Milliseconds, value=late)


def _count_woken(woken: Woken, deps: Deps) -> Woken:
    _count("AbsencesFired", woken.absences, deps)
    _count("DelaysEnded", woken.delayed, deps)
    _count("TimersRescheduled", woken.rescheduled, deps)
    _count("HandoversRepeated", woken.handovers, deps)
    return woken


def _count(name: str, value: int, deps: Deps) -> None:
    deps.observability.metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)


HANDLERS: dict[type, Handler] = {
    Decide: _decide,
    GetCatalogue: _catalogue,
    Wake: _wake,
    Doorbell: _answer_doorbell,
    InspectUser: lambda request, _, deps: user_admin.inspect(request, deps),
    CountInProgress: lambda request, _, deps: count_in_progress(request, deps),
    ForgetUser: lambda request, _, deps: user_admin.forget(request, deps),
}
_BY_TAG: dict[str, Any] = {each.__struct_config__.tag: each for each in get_args(DeciderRequest)}
