"""``POST /v1/apps/{key}/events``: PutEvents of Amazon Pinpoint. The application id in the address is the write key."""

from typing import Any

from gateway.adapters.accept import Sent, accept
from gateway.adapters.pinpoint import list_events, read_event
from gateway.body import MAX_BATCH_BYTES
from gateway.ports import Deps
from gateway.request import Request, Response, json_response


def accept_pinpoint(request: Request, deps: Deps) -> Response:
    """Accept the events of all endpoints. The response has a status for each of them, as Pinpoint's has."""
    events = list_events(request.parse_body(MAX_BATCH_BYTES).value)
    refused = accept(request, deps, Sent("pinpoint", request.parameters["key"], events, read_event))
    results: dict[str, Any] = {}
    for n, event in enumerate(events):
        of_endpoint = results.setdefault(
            event.endpoint_id,
            {"EndpointItemResponse": {"Message": "Accepted", "StatusCode": 202}, "EventsItemResponse": {}},
        )
        status = {"Message": refused.get(n, "Accepted"), "StatusCode": 400 if n in refused else 202}
        of_endpoint["EventsItemResponse"][event.event_id] = status
    return json_response(202, {"Results": results})
