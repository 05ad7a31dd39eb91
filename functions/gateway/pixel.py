"""The pixel: an event as the address of an image, where nothing but an image can be sent, such as in an e-mail.

``GET /v1/pixel/track?data=<base64 of the JSON>``, or flat: ``?userId=a&event=Opened&properties.campaign=spring``.
The answer is always the image; why an event was not taken stands in a header.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from aws_lambda_powertools.metrics import MetricUnit

from gateway import endpoints, tracking
from gateway.body import MAX_EVENT_BYTES, Body, inflate, parse
from gateway.ports import Deps
from gateway.request import Request, Response
from shared.errors import InvalidRequest, NotFound, OpportuneError

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_HEADERS = {"Cache-Control": "no-store"}
_MOST_LEVELS = 8


def pixel(request: Request, deps: Deps) -> Response:
    """Take one message from the address; answer with the image whatever it is."""
    kind = request.parameters["type"]
    if kind not in tracking.TYPES:
        raise NotFound(f"there is no pixel of this type, but of {', '.join(sorted(tracking.TYPES))}")
    received = deps.clock()
    try:
        body = _body(request.query)
        access = endpoints.admit(request, body.value, deps)
        envelope = endpoints.envelope(request, access, received, deps, mute="unanswered")
        endpoints.decide(request, access, [tracking.read_single(body, kind, envelope)], deps)
    except OpportuneError as error:
        deps.observability.metrics.add_metric(name="RequestsRefused", unit=MetricUnit.Count, value=1)
        return Response(200, GIF, "image/gif", {**_HEADERS, "X-Opportune-Error": error.code})
    return Response(200, GIF, "image/gif", _HEADERS)


def _body(query: Mapping[str, str]) -> Body:
    """Return the message in *query*, read by the rules of any other body."""
    data = query.get("data")
    if data is None:
        return parse(msgspec.json.encode(_nested(query)))
    # A plus sign in an address is a space; the letters of base64 for addresses are others.
    text = data.replace(" ", "+").replace("-", "+").replace("_", "/")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise InvalidRequest("'data' is not base64", code="malformed_body") from error
    return parse(inflate(packed, "", MAX_EVENT_BYTES))


def _nested(query: Mapping[str, str]) -> dict[str, Any]:
    """Return *query* with ``properties.plan`` as a field of ``properties``."""
    found: dict[str, Any] = {}
    for name, value in query.items():
        *outer, last = name.split(".", _MOST_LEVELS)
        place = found
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise InvalidRequest(f"{part[:64]!r} is both a value and an object", code="invalid_field")
            place = inner
        if last in place:
            raise InvalidRequest(f"the key {last[:64]!r} comes twice in one object", code="duplicate_key")
        place[last] = value
    return found
