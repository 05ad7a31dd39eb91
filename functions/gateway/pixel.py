"""The pixel: an event in the address of an image, for places that can only load images, such as an e-mail.

``GET /v1/pixel/track?data=<base64 of the JSON>``, or flat: ``?userId=a&event=Opened&properties.campaign=spring``.
The response is always the image. If the event is refused, a header says why.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from gateway import endpoints, tracking
from gateway.body import MAX_EVENT_BYTES, Body, decompress, parse
from gateway.ports import Deps
from gateway.request import Request, Response
from shared.attribute_types import PARSERS
from shared.contracts import Event
from shared.errors import InvalidRequest, NotFound, OpportuneError

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_HEADERS = {"Cache-Control": "no-store"}
_MAX_LEVELS = 8


def accept_pixel(request: Request, deps: Deps) -> Response:
    """Accept one message from the query and return the image."""
    kind = request.parameters["type"]
    if kind not in tracking.TYPES:
        raise NotFound(f"unknown type of pixel; use one of {', '.join(sorted(tracking.TYPES))}")
    received = deps.clock()
    try:
        body = _parse_query(request.query)
        access = endpoints.authenticate(request, body.value, deps)
        envelope = endpoints.build_envelope(request, access, received, deps, popup_block_reason="unanswered")
        message = tracking.parse_single(body, kind, envelope)
        if isinstance(message, Event) and "data" not in request.query:
            _apply_types(message.attributes, access.catalogue.types.get(message.event, {}))
        endpoints.decide(request, access, [message], deps)
    except OpportuneError as error:
        deps.observability.metrics.add_metric(name="RequestsRefused", unit=MetricUnit.Count, value=1)
        return Response(200, GIF, "image/gif", {**_HEADERS, "X-Opportune-Error": error.code})
    return Response(200, GIF, "image/gif", _HEADERS)


def _parse_query(query: Mapping[str, str]) -> Body:
    """Return the message in *query*, parsed by the rules for bodies."""
    data = query.get("data")
    if data is None:
        return parse(msgspec.json.encode(_nest(query)))
    # In a query, "+" means a space, and URL-safe base64 uses two other letters.
    text = data.replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidRequest("'data' is not base64", code="malformed_body") from error
    return parse(decompress(decoded, "", MAX_EVENT_BYTES))


def _apply_types(attributes: Any, types: Mapping[str, str]) -> None:
    """Parse the text in *attributes* that is a number or a boolean by the event's definition: a query has only text."""
    for path, wanted in types.items():
        *parents, last = path.split(".")
        inner = attributes
        for part in parents:
            inner = inner.get(part) if isinstance(inner, dict) else None
        value = inner.get(last) if isinstance(inner, dict) else None
        if isinstance(value, str) and (parsed := PARSERS[wanted](value.strip())) is not None:
            inner[last] = parsed


def _nest(query: Mapping[str, str]) -> dict[str, Any]:
    """Return *query* with dotted names as nested objects: ``properties.plan`` is a field of ``properties``."""
    root: dict[str, Any] = {}
    for name, value in query.items():
        *parents, last = name.split(".", _MAX_LEVELS)
        parent = root
        for part in parents:
            child = parent.setdefault(part, {})
            if not isinstance(child, dict):
                raise InvalidRequest(f"{part[:64]!r} is both a value and an object", code="invalid_field")
            parent = child
        if last in parent:
            raise InvalidRequest(f"the key {last[:64]!r} occurs twice in one object", code="duplicate_key")
        parent[last] = value
    return root
