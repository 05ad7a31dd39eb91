"""The Gateway's Lambda handler: routes, errors and CORS in one place each."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.metrics import MetricUnit

from gateway import access, tracking
from gateway.decisions import Decisions
from shared.clock import Clock
from shared.contracts import Decision, Event
from shared.errors import InvalidRequest, OpportuneError
from shared.observability import Observability

# What trackers send, on a first try and on a retry; "*" would not cover Authorization.
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Content-Encoding, X-Retry-Count, AnonymousId, SentAt, Rsa-Recovered, "
    "Rsa-Retry-Attempt, Rsa-Retry-Reason, Rsa-Since-First-Attempt, Rsa-Since-Last-Attempt"
)
JSON = "application/json"


@dataclass(frozen=True)
class Deps:
    """What the handler works with."""

    decisions: Decisions
    clock: Clock
    observability: Observability


def create_handler(deps: Deps) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics
    app = APIGatewayHttpResolver()

    def decide(admitted: access.Access, events: list[Event]) -> list[Decision]:
        decisions = deps.decisions.decide(admitted, events)
        metrics.add_metric(name="EventsReceived", unit=MetricUnit.Count, value=len(events))
        metrics.add_metric(name="EventsRelevant", unit=MetricUnit.Count, value=len(decisions))
        return decisions

    @app.post("/v1/track/?")
    def track() -> Response[str]:
        received = deps.clock()
        body, key = _read(app.current_event.raw_event, tracking.MAX_EVENT_BYTES)
        admitted = deps.decisions.admit(key)
        event = tracking.read_event(body, "track", received, trusted=admitted.secret)
        return _answer(decide(admitted, [event] if event else []))

    @app.post("/v1/batch/?")
    def batch() -> Response[str]:
        received = deps.clock()
        body, key = _read(app.current_event.raw_event, tracking.MAX_BATCH_BYTES)
        admitted = deps.decisions.admit(key)
        taken = tracking.read_batch(body, received, trusted=admitted.secret)
        return _answer(decide(admitted, taken.events), taken.refusals)

    @app.route("/.*", method=["OPTIONS"])
    def preflight() -> Response[str]:
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Max-Age": "900",
            },
        )

    @app.not_found
    def unknown(error: Exception) -> Response[str]:  # noqa: ARG001 - Powertools' signature
        return _refuse(404, "not_found", "there is nothing at this address; events go to /v1/track or /v1/batch")

    @app.exception_handler(OpportuneError)
    def refuse(error: OpportuneError) -> Response[str]:
        if error.status >= 500:
            logger.error("request failed", extra={"code": error.code, "reason": error.message})
        return _refuse(error.status, error.code, error.message)

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        response: dict[str, Any] = app.resolve(event, context)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        headers = response.setdefault("headers", {})
        headers["Access-Control-Allow-Origin"] = (event.get("headers") or {}).get("origin", "*")
        headers["Vary"] = "Origin"
        return response

    return handler


def _read(event: Mapping[str, Any], limit: int) -> tuple[dict[str, Any], str]:
    """Return the parsed body and the write key of an API Gateway event."""
    raw = event.get("body") or ""
    try:
        body = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()
    except ValueError as error:
        raise InvalidRequest("the body cannot be read", code="malformed_body") from error
    headers: Mapping[str, str] = event.get("headers") or {}
    parsed = tracking.parse(tracking.inflate(body, headers.get("content-encoding", ""), limit))
    key = access.presented_key(headers.get("authorization", ""), parsed, event.get("queryStringParameters") or {})
    return parsed, key


def _answer(decisions: list[Decision], refusals: list[tracking.Refusal] | None = None) -> Response[str]:
    """Success is exactly 200: trackers retry anything else. Refused items are named in the answer."""
    body: dict[str, Any] = {
        "success": True,
        "messages": [message for decision in decisions for message in decision.messages],
    }
    rejected = [
        {"index": r.place, "messageId": r.message_id, "code": r.code, "message": r.message} for r in refusals or []
    ]
    rejected += [
        {"messageId": d.message_id, "code": d.code, "message": d.message} for d in decisions if d.code is not None
    ]
    if rejected:
        body["rejected"] = rejected
    return Response(status_code=200, content_type=JSON, body=msgspec.json.encode(body).decode())


def _refuse(status: int, code: str, message: str) -> Response[str]:
    body = msgspec.json.encode({"success": False, "code": code, "message": message}).decode()
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    return Response(status_code=status, content_type=JSON, body=body, headers=headers)
