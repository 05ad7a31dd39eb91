"""The Decider's Lambda handler: decode, decide, encode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from decider import book
from decider.decide import Decider
from decider.wake import wake
from shared.clock import Clock
from shared.contracts import VERSION, Decide, DeciderRequest, Wake
from shared.errors import InvalidRequest
from shared.observability import Observability


@dataclass(frozen=True)
class Deps:
    """What the handler works with."""

    decider: Decider
    clock: Clock
    observability: Observability


def create_handler(deps: Deps) -> Callable[[dict[str, Any], Any], Any]:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:  # noqa: ARG001 - Lambda's signature
        request = read(event)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        if isinstance(request, Decide):
            metrics.add_metric(name="Events", unit=MetricUnit.Count, value=len(request.events))
            return msgspec.to_builtins(deps.decider.decide(request))
        if isinstance(request, Wake):
            woken = wake(deps.decider, request, deps.clock)
            metrics.add_metric(name="AbsencesFired", unit=MetricUnit.Count, value=woken.absences)
            metrics.add_metric(name="HandoversRepeated", unit=MetricUnit.Count, value=woken.handovers)
            return msgspec.to_builtins(woken)
        return msgspec.to_builtins(book.catalogue(deps.decider.book.get()))

    return handler


def read(event: dict[str, Any]) -> DeciderRequest:
    """Return the request in *event*; raises `InvalidRequest` where it is none, or of another version."""
    try:
        request = msgspec.convert(event, DeciderRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a request to the Decider: {error}") from error
    if request.v != VERSION:
        raise InvalidRequest(f"contract version {request.v} is not {VERSION}", code="unknown_version")
    return request
