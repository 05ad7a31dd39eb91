"""The Decider's Lambda handler: decode, decide, encode."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from decider import rulesets, user_admin
from decider.decide import Decider
from decider.in_progress import count_in_progress
from decider.ingest import Ingest
from decider.stats import Stats
from decider.wake import answer_bell, following, wake
from shared.clock import Clock
from shared.contracts import (
    VERSION,
    CountInProgress,
    Decide,
    Decided,
    DeciderRequest,
    Doorbell,
    ForgetUser,
    GetCatalogue,
    InProgress,
    InspectUser,
    Wake,
    Woken,
)
from shared.errors import InvalidRequest, Unavailable
from shared.observability import Observability, log_failure, log_redelivery

FRESH_MS = 1000
LEAST_MS = 1000  # also where the caller's clock is behind ours
STATS_MS = 4_000  # no more daily figures are begun to be moved after that


@dataclass(frozen=True)
class Deps:
    """What the handler works with.

    ``invoke_async`` invokes a function (ARN) with a payload and does not wait.
    ``within(seconds)`` bounds the database's time inside a ``with``.
    """

    decider: Decider
    reception: Ingest
    stats: Stats
    clock: Clock
    observability: Observability
    hand_over: Callable[[str, dict[str, Any]], None]
    within: Callable[[float], AbstractContextManager[Any]]


def create_handler(deps: Deps) -> Callable[[dict[str, Any], Any], Any]:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        if "Records" in event:
            return answer_bells(event["Records"], deps)
        with log_failure(logger):
            request = read(event)
            metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
            if isinstance(request, Decide):
                metrics.add_metric(name="Events", unit=MetricUnit.Count, value=len(request.events))
            if isinstance(request, Wake):
                return msgspec.to_builtins(_wake(request, context.invoked_function_arn, deps))
            return msgspec.to_builtins(ANSWERS[type(request)](request, deps))

    return handler


def answer_bells(records: list[dict[str, Any]], deps: Deps) -> dict[str, Any]:
    """See to the doorbells in messages of their queue; name those that have to ring again."""
    failed = []
    for record in records:
        try:
            try:
                ring = msgspec.json.decode(record["body"], type=Doorbell)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
                raise InvalidRequest(f"not a doorbell: {type(error).__name__}") from error
            _answer(ring, deps)
        except Exception as error:  # noqa: BLE001 - one that cannot be answered must not keep the others
            log_redelivery(deps.observability.logger, "doorbell", error, record["messageId"])
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _decide(request: Decide, deps: Deps) -> Decided:
    # Whoever waits longer for the database than his caller for him is killed over it, and decides nothing else.
    with deps.within(max(request.deadline - deps.clock(), LEAST_MS) / 1000):
        return deps.reception.take(request)


def _wake(request: Wake, function: str, deps: Deps) -> Woken:
    begun = deps.clock()
    try:
        woken = _woken(wake(deps.decider, request, deps.clock, _late(deps)), deps)
        if woken.left:
            _go_on(request, function, deps)
    finally:
        if not request.hop:
            # A Lambda that is killed here loses what it has counted of the wake.
            deps.stats.drain(range(request.first, request.last + 1), lambda: deps.clock() - begun < STATS_MS)
    return woken


def _go_on(request: Wake, function: str, deps: Deps) -> None:
    try:
        for each in following(request):
            deps.hand_over(function, msgspec.to_builtins(each))
    except Unavailable as error:  # it has time until the next wake
        deps.observability.logger.warning("what is left waits for the next wake", extra={"code": error.code})


def _answer(ring: Doorbell, deps: Deps) -> Woken:
    return _woken(answer_bell(deps.decider, ring, deps.clock, _late(deps)), deps)


def _late(deps: Deps) -> Callable[[int], None]:
    metrics = deps.observability.metrics
    # With the hundredth value of a metric, as many as a line of log may hold, Powertools begins another line.
    return lambda late: metrics.add_metric(name="TimerLateness", unit=MetricUnit.Milliseconds, value=late)


def _woken(woken: Woken, deps: Deps) -> Woken:
    metrics = deps.observability.metrics
    metrics.add_metric(name="AbsencesFired", unit=MetricUnit.Count, value=woken.absences)
    metrics.add_metric(name="DelaysEnded", unit=MetricUnit.Count, value=woken.delayed)
    metrics.add_metric(name="AppointmentsPutOff", unit=MetricUnit.Count, value=woken.put_off)
    metrics.add_metric(name="HandoversRepeated", unit=MetricUnit.Count, value=woken.handovers)
    return woken


ANSWERS: dict[type, Callable[[Any, Deps], Any]] = {
    Decide: _decide,
    # The Gateway keeps the answer for its own interval: one that is old already would be twice as old in the end.
    GetCatalogue: lambda _, deps: rulesets.catalogue(deps.decider.book.get_fresh(FRESH_MS)),
    Doorbell: _answer,
    InspectUser: lambda request, deps: user_admin.inspect(deps.decider, request),
    CountInProgress: lambda request, deps: InProgress(
        count_in_progress(deps.decider.rows.run, request.site, deps.clock())
    ),
    ForgetUser: lambda request, deps: user_admin.forget(deps.decider, request),
}


_REQUESTS: dict[str, Any] = {each.__struct_config__.tag: each for each in get_args(DeciderRequest)}


def read(event: dict[str, Any]) -> DeciderRequest:
    """Return the request in *event*; raises `InvalidRequest` where it is none, or of another version."""
    try:
        # A union would be analysed again on every call; the type of one struct is cached.
        request: DeciderRequest = msgspec.convert(event, _REQUESTS.get(str(event.get("type")), Decide))
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a request to the Decider: {error}") from error
    if request.v != VERSION:
        raise InvalidRequest(f"contract version {request.v} is not {VERSION}", code="unknown_version")
    return request
