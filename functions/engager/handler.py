"""The Engager's Lambda handler: requests by their type, messages from the queue, and e-mail events from SES."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from engager import mail_events
from engager.engage import POPUP, engage
from engager.ledger.recalls import STATE_LOST
from engager.ledger.states import DeliveryResult, State, suppressed_state
from engager.ports import Deps
from engager.sweep import SweepResult, sweep
from shared.contracts import VERSION, Activation, Engage, Engaged, ForgetUser, Sweep
from shared.errors import InvalidRequest, Unavailable
from shared.observability import Observability, log_failure, log_redelivery

# How long one delivery takes if its provider is slow. With less time left, a message goes back to the queue, so that
# Lambda does not kill the function in the middle of a delivery.
RESERVE_MS = 14_000
MAX_HOPS = 2  # sweeps that continue one that ran out of time: a minute has room for two

STATE_METRICS: dict[State | None, str] = {
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


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> Any:
        _count("Requests", 1, deps)
        with log_failure(logger):
            if "Records" in event:
                return _deliver_batch(event, context, deps)
            if event.get("source") == mail_events.SOURCE:
                return _record_mail_event(event, deps)
            request = decode_request(event)
            return msgspec.to_builtins(HANDLERS[type(request)](request, context, deps))

    bound: Handler = handler  # the decorators lose the type
    return bound


def _handle_engage(request: Engage, context: Any, deps: Deps) -> Engaged:  # noqa: ARG001 - one signature for all
    _count("ActivationsReceived", len(request.activations), deps)
    left_ms = request.deadline - deps.clock()
    if left_ms <= 0:
        raise Unavailable("the deadline has passed", code="deadline_passed")
    contents: dict[str, dict[str, Any]] = {}
    with deps.db_deadline(left_ms / 1000):
        done = _record_suppressed(request.activations, deps)
        deps.mark_conversions(request.conversions)
        for activation in request.activations:
            if activation.id in done:
                continue
            result = _engage(activation, deps)
            if result.content is not None:
                contents[activation.id] = result.content
    return Engaged(contents)


def _handle_sweep(request: Sweep, context: Any, deps: Deps) -> SweepResult:
    swept = sweep(deps.sweep, deps.ports, lambda: context.get_remaining_time_in_millis() >= RESERVE_MS)
    metric_names = {state.value if state else "none": name for state, name in STATE_METRICS.items()}
    for state, count in swept.outcomes.items():
        _count(metric_names[state], count, deps)
    _count(STATE_METRICS[State.UNKNOWN], swept.interrupted, deps)
    _count("HeldBacklog", swept.held, deps)
    _count("UnknownOld", swept.unknown_old, deps)
    if swept.left and request.hop < MAX_HOPS:
        try:
            deps.invoke_async(context.invoked_function_arn, msgspec.to_builtins(Sweep(request.hop + 1)))
        except Unavailable as error:  # the next scheduled sweep continues
            deps.observability.logger.warning("sweep not continued", extra={"code": error.code})
    return swept


def _handle_forget(request: ForgetUser, context: Any, deps: Deps) -> dict[str, int]:  # noqa: ARG001
    return deps.forget(request.site, request.user)


HANDLERS: dict[type, Callable[[Any, Any, Deps], Any]] = {
    Engage: _handle_engage,
    Sweep: _handle_sweep,
    ForgetUser: _handle_forget,
}


def _deliver_batch(event: dict[str, Any], context: Any, deps: Deps) -> Any:
    _count("ActivationsReceived", len(event["Records"]), deps)
    done = _record_suppressed(_decodable(event["Records"]), deps)
    started: list[str] = []

    def deliver(record: SQSRecord) -> None:
        activation = decode_activation(record.body)
        if activation.id in done:
            return
        # The first message is always delivered. Otherwise a function with a short timeout would never send anything.
        if started and context.get_remaining_time_in_millis() < RESERVE_MS:
            raise Unavailable("no time left for this message", code="no_time_left")
        started.append(activation.id)
        _engage(activation, deps)

    return process_partial_response(
        event=event, record_handler=deliver, processor=_LoggingBatchProcessor(deps.observability), context=context
    )


class _LoggingBatchProcessor(BatchProcessor):
    """Logs every failed message by its id and a code, never by its content."""

    def __init__(self, observability: Observability) -> None:
        super().__init__(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
        self._logger = observability.logger

    def failure_handler(self, record: Any, exception: Any) -> Any:
        """Log the failure of one message and mark it for redelivery."""
        log_redelivery(self._logger, "message", exception[1], record.message_id)
        return super().failure_handler(record, exception)


def _record_mail_event(event: dict[str, Any], deps: Deps) -> dict[str, Any]:
    recorded = deps.record_mail_event(event)
    _count(f"Emails{recorded.event}" if recorded.known else "MailEventsIgnored", 1, deps)
    return recorded._asdict()


def decode_request(event: dict[str, Any]) -> EngagerRequest:
    """Return the request in *event*; raises `InvalidRequest` if it is not one, or has another version."""
    try:
        request = msgspec.convert(event, EngagerRequest)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"not a request to the Engager: {error}") from error
    activations = request.activations if isinstance(request, Engage) else []
    for version in (request.v, *(activation.v for activation in activations)):
        _check_version(version)
    return request


def decode_activation(body: str) -> Activation:
    """Return the activation in a message's *body*; raises `InvalidRequest` if it is not one."""
    try:
        activation = msgspec.json.decode(body, type=Activation)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # Without the error's text, which may quote the message.
        raise InvalidRequest(f"not an activation: {type(error).__name__}") from error
    _check_version(activation.v)
    return activation


def _check_version(version: int) -> None:
    if version != VERSION:
        raise InvalidRequest(f"contract version {version} is not {VERSION}", code="unknown_version")


def _decodable(records: Iterable[dict[str, Any]]) -> Iterator[Activation]:
    """Yield the activations of a batch. Invalid messages are skipped here and reported at their turn."""
    for record in records:
        with suppress(InvalidRequest):
            yield decode_activation(record["body"])


def _record_suppressed(activations: Iterable[Activation], deps: Deps) -> set[str]:
    """Record all suppressed ones of *activations* in one write and return their ids."""
    suppressed = {activation.id: activation for activation in activations if activation.suppressed}
    # A browser waits for a popup, which was matched a moment ago, so the cached tombstones are recent enough. Other
    # activations may have been in the queue for days.
    popups = [activation for activation in suppressed.values() if activation.channel == POPUP]
    messages = [activation for activation in suppressed.values() if activation.channel != POPUP]
    ports = deps.ports
    existing = ports.ledger.record_suppressed(
        ports.cached_tombstones.pseudonymise_forgotten(popups) + ports.tombstones.pseudonymise_forgotten(messages)
    )
    states = Counter(
        # A doorbell that found nothing in the state store: the row says what became of its activation.
        None if activation.suppressed == STATE_LOST and activation.id in existing else suppressed_state(activation)
        for activation in suppressed.values()
    )
    for state, count in states.items():
        _count(STATE_METRICS[state], count, deps)
    return set(suppressed)


def _engage(activation: Activation, deps: Deps) -> DeliveryResult:
    result = engage(activation, deps.ports)
    _count(STATE_METRICS[result.state], 1, deps)
    if result.state in (State.FAILED_FINAL, State.UNKNOWN):
        deps.observability.logger.warning(
            "activation not delivered",
            extra={"activation": activation.id, "state": result.state, "reason": result.reason},
        )
    return result


def _count(name: str, value: int, deps: Deps) -> None:
    deps.observability.metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
