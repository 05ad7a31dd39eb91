"""What the Gateway does at its addresses: a request in, an answer out."""

from collections.abc import Callable, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from gateway import tracking
from gateway.access import Access
from gateway.body import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from gateway.deps import Deps
from gateway.request import Answer, Request, json_answer
from shared.contracts import Decision, Message

Endpoint = Callable[[Request, Deps], Answer]


def single(kind: str) -> Endpoint:
    """Return the endpoint of calls of *kind*, each with one message in its body."""

    def take(request: Request, deps: Deps) -> Answer:
        received = deps.clock()
        body = request.parsed(MAX_EVENT_BYTES)
        access = deps.decisions.admit(request.key(body.value))
        message = tracking.read_single(body, kind, tracking.Envelope(received, trusted=access.secret))
        return _answered(_decide(deps, access, [message]))

    return take


def batch(request: Request, deps: Deps) -> Answer:
    """Take many messages at once: the good ones; the others are named in the answer."""
    received = deps.clock()
    body = request.parsed(MAX_BATCH_BYTES)
    access = deps.decisions.admit(request.key(body.value))
    taken = tracking.read_batch(body, tracking.Envelope(received, trusted=access.secret))
    return _answered(_decide(deps, access, taken.messages), taken.refusals)


def _decide(deps: Deps, access: Access, messages: Sequence[Message]) -> list[Decision]:
    decisions = deps.decisions.decide(access, messages)
    metrics = deps.observability.metrics
    metrics.add_metric(name="EventsReceived", unit=MetricUnit.Count, value=len(messages))
    metrics.add_metric(name="EventsRelevant", unit=MetricUnit.Count, value=len(decisions))
    return decisions


def _answered(decisions: Sequence[Decision], refusals: Sequence[tracking.Refusal] = ()) -> Answer:
    """Success is exactly 200: trackers retry anything else. Refused items are named in the answer."""
    content: dict[str, Any] = {
        "success": True,
        "messages": [message for decision in decisions for message in decision.messages],
    }
    rejected = [{"index": r.place, "messageId": r.message_id, "code": r.code, "message": r.message} for r in refusals]
    rejected += [
        {"messageId": d.message_id, "code": d.code, "message": d.message} for d in decisions if d.code is not None
    ]
    if rejected:
        content["rejected"] = rejected
    return json_answer(200, content)
