"""``POST /capture/`` and ``/batch/``: what PostHog's libraries send. Their project key is the write key."""

from gateway.adapters.accept import Sent, accept, describe_refused
from gateway.adapters.posthog import read_event
from gateway.body import MAX_BATCH_BYTES
from gateway.ports import Deps
from gateway.request import Request, Response, json_response
from shared.errors import InvalidRequest


def accept_posthog(request: Request, deps: Deps) -> Response:
    """Accept one event, or those in ``batch``."""
    body = request.parse_body(MAX_BATCH_BYTES).value
    events = body.get("batch", [body])
    if not isinstance(events, list):
        raise InvalidRequest("'batch' must be a list of events", code="invalid_batch")
    sent = body.get("sentAt") or body.get("sent_at")
    key = body.get("api_key") or body.get("token")
    refused = accept(request, deps, Sent("posthog", key, events, read_event, sent))
    return json_response(200, {"status": 1, **describe_refused(refused)})
