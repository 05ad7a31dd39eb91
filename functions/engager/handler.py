"""The Engager's Lambda handler: popups and records on a synchronous call, everything else from the queue.

And what comes by itself: the sweep of every minute, what SES reports by EventBridge, and the request to forget a user.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from engager import feedback
from engager.engage import POPUP, engage
from engager.feedback import Noted
from engager.ledger.states import Outcome, State, recorded
from engager.ports import Ports
from engager.sweep import Sweeper, Swept, sweep
from shared.clock import Clock
from shared.contracts import VERSION, Activation, Conversion, Engage, Engaged, ForgetUser, Sweep
from shared.errors import InvalidRequest, Unavailable
from shared.observability import Observability, log_failure, log_redelivery

# What one delivery takes when its provider is slow: rather hand a message back than be killed in the middle.
RESERVE_MS = 14_000
MOST_HOPS = 2  # sweeps that go on where one had no time for all: as many as a minute has room for

COUNTED: dict[State | None, str] = {
    State.SENT: "ActivationsSent",
    State.FAILED_FINAL: "ActivationsFailed",
    State.UNKNOWN: "ActivationsUnknown",
    State.SUPPRESSED: "ActivationsSuppressed",
    State.HELD_OUT: "ActivationsHeldOut",
    State.DROPPED_LATE: "ActivationsDroppedLate",
    State.HELD: "ActivationsHeld",
    None: "ActivationsRepeated",
}

Handler = Callable[[dict[str, Any], Any], Any]


EngagerRequest = Engage | Sweep | ForgetUser


@dataclass(frozen=True)
class Deps:
    """What the handler works with.

    ``convert`` marks conversions, ``note`` takes what SES reports, ``forget`` erases a user (site, user) and returns
    how many rows that changed, by kind. ``within(seconds)`` bounds the database's time inside a ``with``.
    ``invoke_async`` invokes a function (ARN) with a payload and does not wait.
    """

    ports: Ports
    sweeper: Sweeper
    convert: Callable[[Sequence[Conversion]], None]
    note: Callable[[dict[str, Any]], Noted]
    forget: Callable[[str, str], dict[str, int]]
    within: Callable[[float], AbstractContextManager[Any]]
    clock: Clock
    observability: Observability
    hand_over: Callable[[str, dict[str, Any]], None]


class _Batch(BatchProcessor):
    """Powertools' batch processor, with every failure logged: ids and codes, never a message's content."""

    def __init__(self, observability: Observability) -> None:
        super().__init__(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        self._logger = observability.logger

    def failure_handler(self, record: Any, exception: Any) -> Any:
        """Log the failure of one record and mark it for redelivery."""
        log_redelivery(self._logger, "message", exception[1], record.message_id)
        return super().failure_handler(record, exception)


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        _count("Requests", 1, deps)
        with log_failure(logger):
            if "Records" in event:
                return _deliver(event, context, deps)
            if event.get("source") == feedback.SOURCE:
                return _note(event, deps)
            return _answer(read(event), context, deps)

    bound: Handler = handler  # the decorators lose the type
    return bound


def _answer(request: EngagerRequest, context: Any, deps: Deps) -> Any:
    if isinstance(request, Sweep):
        return msgspec.to_builtins(_sweep(request, context, deps))
    if isinstance(request, ForgetUser):
        return deps.forget(request.site, request.user)
    return msgspec.to_builtins(_show(request, deps))


def read(event: dict[str, Any]) -> EngagerRequest:
    """Return the request in *event*; raises `InvalidRequest` where it is none, or of another version."""
    try:
        request = msgspec.convert(event, EngagerRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a request to the Engager: {error}") from error
    activations = request.activations if isinstance(request, Engage) else []
    for version in (request.v, *(activation.v for activation in activations)):
        _check_version(version)
    return request


def read_activation(body: str) -> Activation:
    """Return the activation in a message's *body*; raises `InvalidRequest` where it is none."""
    try:
        activation = msgspec.json.decode(body, type=Activation)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # Without the decoder's words: they may quote the message.
        raise InvalidRequest(f"not an activation: {type(error).__name__}") from error
    _check_version(activation.v)
    return activation


def _check_version(version: int) -> None:
    if version != VERSION:
        raise InvalidRequest(f"contract version {version} is not {VERSION}", code="unknown_version")


def _show(request: Engage, deps: Deps) -> Engaged:
    _count("ActivationsReceived", len(request.activations), deps)
    left_ms = request.deadline - deps.clock()
    if left_ms <= 0:
        raise Unavailable("the deadline has passed", code="deadline_passed")
    contents: dict[str, dict[str, Any]] = {}
    with deps.within(left_ms / 1000):
        done = _record_suppressed(request.activations, deps)
        deps.convert(request.conversions)
        for activation in request.activations:
            if activation.id in done:
                continue
            outcome = _engage(activation, deps)
            if outcome.content is not None:
                contents[activation.id] = outcome.content
    return Engaged(contents)


def _deliver(event: dict[str, Any], context: Any, deps: Deps) -> Any:
    _count("ActivationsReceived", len(event["Records"]), deps)
    done = _record_suppressed(_readable(event["Records"]), deps)
    begun: list[str] = []

    def deliver(record: SQSRecord) -> None:
        activation = read_activation(record.body)
        if activation.id in done:
            return
        # The first one goes ahead in any case: with a short timeout nothing would ever be sent otherwise.
        if begun and context.get_remaining_time_in_millis() < RESERVE_MS:
            raise Unavailable("no time left for this message", code="no_time_left")
        begun.append(activation.id)
        _engage(activation, deps)

    return process_partial_response(
        event=event, record_handler=deliver, processor=_Batch(deps.observability), context=context
    )


def _sweep(request: Sweep, context: Any, deps: Deps) -> Swept:
    swept = sweep(deps.sweeper, deps.ports, lambda: context.get_remaining_time_in_millis() >= RESERVE_MS)
    names = {state.value if state else "none": name for state, name in COUNTED.items()}
    for state, count in swept.outcomes.items():
        _count(names[state], count, deps)
    _count(COUNTED[State.UNKNOWN], swept.interrupted, deps)
    _count("Held", swept.held, deps)
    _count("UnknownOld", swept.unknown_old, deps)
    if swept.left and request.hop < MOST_HOPS:
        try:
            deps.hand_over(context.invoked_function_arn, msgspec.to_builtins(Sweep(request.hop + 1)))
        except Unavailable as error:  # it has time until the next sweep
            deps.observability.logger.warning("what is left waits for the next sweep", extra={"code": error.code})
    return swept


def _note(event: dict[str, Any], deps: Deps) -> dict[str, Any]:
    noted = deps.note(event)
    _count(f"Emails{noted.event}".replace(" ", "") if noted.known else "FeedbackIgnored", 1, deps)
    return noted._asdict()


def _readable(records: Iterable[dict[str, Any]]) -> Iterator[Activation]:
    """Yield the activations of a batch; what is none is reported when its turn comes."""
    for record in records:
        with suppress(InvalidRequest):
            yield read_activation(record["body"])


def _record_suppressed(activations: Iterable[Activation], deps: Deps) -> set[str]:
    """Write all suppressed ones of *activations* at once and return their ids."""
    suppressed = {activation.id: activation for activation in activations if activation.suppressed}
    # A popup is matched in the very request that records it, which waits; all else may have been on its way for days.
    popups = [activation for activation in suppressed.values() if activation.channel == POPUP]
    others = [activation for activation in suppressed.values() if activation.channel != POPUP]
    ports = deps.ports
    ports.ledger.suppress(ports.tombstones.without_names(popups) + ports.forgotten.without_names(others))
    for state, count in Counter(recorded(activation) for activation in suppressed.values()).items():
        _count(COUNTED[state], count, deps)
    return set(suppressed)


def _engage(activation: Activation, deps: Deps) -> Outcome:
    outcome = engage(activation, deps.ports)
    _count(COUNTED[outcome.state], 1, deps)
    if outcome.state in (State.FAILED_FINAL, State.UNKNOWN):
        deps.observability.logger.warning(
            "not delivered",
            extra={"activation": activation.id, "state": outcome.state, "reason": outcome.reason},
        )
    return outcome


def _count(name: str, value: int, deps: Deps) -> None:
    deps.observability.metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
