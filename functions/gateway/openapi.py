"""The description of the API (OpenAPI 3.1), made from the table of routes and the limits that the code has."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from gateway.body import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from gateway.openapi_schemas import schemas
from gateway.tracking import MAX_BATCH_EVENTS, TYPES

Schema = dict[str, Any]


class Described(Protocol):
    """A route, as far as the description needs it. ``takes``, ``gives``: schemas of body and success, below."""

    @property
    def method(self) -> str: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def summary(self) -> str: ...
    @property
    def takes(self) -> str: ...
    @property
    def gives(self) -> str: ...


def describe(routes: Sequence[Described]) -> Schema:
    """Return the description of *routes*."""
    paths: Schema = {}
    for route in routes:
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Opportune",
            "version": "1",
            "description": (
                "Takes events in the format of Segment's HTTP Tracking API and answers with popups. The body is read "
                "whatever its Content-Type says; it may be gzip. Success is exactly 200; whatever else has a code "
                "and a message. Slashes at the end of a path do not matter. A write key may also stand in the body, "
                "as 'writeKey'."
            ),
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "The write key as user, no password."},
                "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
            },
            "schemas": schemas(),
        },
    }


def _operation(route: Described, path: str) -> Schema:
    operation: Schema = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()} {path}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _PARAMETERS.get(name, {"type": "string"})}
            for name in (part[1:-1] for part in path.split("/") if part.startswith("{"))
        ],
        "responses": {"200": _SUCCESS[route.gives], **_errors(_REFUSALS[route.gives])},
    }
    if route.gives in ("Taken", "SourceConfig"):
        operation["security"] = [{"basic": []}, {"query": []}]
    if route.takes:
        schema = {"$ref": f"#/components/schemas/{route.takes}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _json(schema: Schema) -> Schema:
    return {"description": "Taken.", "content": {"application/json": {"schema": schema}}}


_PARAMETERS: Schema = {"type": {"type": "string", "enum": sorted(TYPES)}, "key": {"type": "string", "minLength": 1}}
_NAMED = ("Taken", "Success", "SegmentSettings", "SourceConfig")
_SUCCESS: Schema = {
    **{name: _json({"$ref": f"#/components/schemas/{name}"}) for name in _NAMED},
    "Description": _json({"type": "object"}),
    "Image": {"description": "The image, also where the event was not taken.", "content": {"image/gif": {}}},
    "File": {"description": "The file."},
}
_REFUSALS: dict[str, tuple[int, ...]] = {
    "Taken": (400, 401, 403, 413, 415, 429, 503),
    "SegmentSettings": (400, 401, 403, 404, 503),
    "SourceConfig": (400, 401, 403, 503),
    "Success": (),
    "Description": (),
    "Image": (404,),
    "File": (404,),
}
_MEANINGS = {
    400: "It cannot be accepted as it is.",
    401: "No write key, or one that no site has.",
    403: "The write key is not for this page.",
    404: "There is nothing here.",
    405: "Not by this method.",
    413: f"More than {MAX_EVENT_BYTES} bytes, for a batch {MAX_BATCH_BYTES} bytes or {MAX_BATCH_EVENTS} events.",
    415: "Packed in another way than gzip.",
    429: "Too many events from this address.",
    503: "Not now: try again with the same message ids.",
}


def _errors(statuses: Iterable[int]) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    wait = {name: {"schema": {"type": "integer"}, "description": "Seconds."} for name in ("Retry-After",)}
    return {
        str(status): {
            "description": _MEANINGS[status],
            "content": content,
            **({"headers": wait} if status in (429, 503) else {}),
        }
        for status in (*statuses, 405)
    }
