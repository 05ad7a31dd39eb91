"""Build the OpenAPI 3.1 description of the API from the table of routes and the limits in the code."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from gateway.body import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from gateway.openapi_schemas import schemas
from gateway.tracking import MAX_BATCH_EVENTS, TYPES

Schema = dict[str, Any]


class DescribedRoute(Protocol):
    """What the description needs of a route; see `gateway.routes.Route`."""

    @property
    def method(self) -> str: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def summary(self) -> str: ...
    @property
    def request_schema(self) -> str: ...
    @property
    def response_schema(self) -> str: ...


def describe(routes: Sequence[DescribedRoute]) -> Schema:
    """Return the description of *routes*."""
    paths: Schema = {}
    for route in routes:
        for path in route.paths:
            paths.setdefault(path, {})[route.method.lower()] = _describe_operation(route, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Opportune",
            "version": "1",
            "description": (
                "Accepts events in the format of Segment's HTTP Tracking API and returns popups. Any Content-Type is "
                "accepted, and the body may be gzip. Success is always 200; every error has a code and a message. "
                "A trailing slash makes no difference. The write key may also be in the body, as 'writeKey'."
            ),
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The write key as user name, without a password.",
                },
                "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
            },
            "schemas": schemas(),
        },
    }


def _describe_operation(route: DescribedRoute, path: str) -> Schema:
    operation: Schema = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()} {path}",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _PARAMETERS.get(name, {"type": "string"})}
            for name in (part[1:-1] for part in path.split("/") if part.startswith("{"))
        ],
        "responses": {
            "200": _SUCCESS[route.response_schema],
            **_describe_errors(_ERROR_STATUSES[route.response_schema]),
        },
    }
    if route.response_schema in ("Accepted", "SourceConfig"):
        operation["security"] = [{"basic": []}, {"query": []}]
    if route.request_schema:
        schema = {"$ref": f"#/components/schemas/{route.request_schema}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _describe_json(schema: Schema) -> Schema:
    return {"description": "Accepted.", "content": {"application/json": {"schema": schema}}}


_PARAMETERS: Schema = {"type": {"type": "string", "enum": sorted(TYPES)}, "key": {"type": "string", "minLength": 1}}
_NAMED = ("Accepted", "Success", "SegmentSettings", "SourceConfig")
_SUCCESS: Schema = {
    **{name: _describe_json({"$ref": f"#/components/schemas/{name}"}) for name in _NAMED},
    "Description": _describe_json({"type": "object"}),
    "Image": {"description": "The image, even if the event was refused.", "content": {"image/gif": {}}},
    "File": {"description": "The file."},
}
_ERROR_STATUSES: dict[str, tuple[int, ...]] = {
    "Accepted": (400, 401, 403, 413, 415, 429, 503),
    "SegmentSettings": (400, 401, 403, 404, 503),
    "SourceConfig": (400, 401, 403, 503),
    "Success": (),
    "Description": (),
    "Image": (404,),
    "File": (404,),
}
_MEANINGS = {
    400: "The request is invalid.",
    401: "There is no write key, or no site has it.",
    403: "The write key does not allow this page, or the request bypassed CloudFront.",
    404: "Nothing is at this address.",
    405: "The address does not allow this method.",
    413: f"More than {MAX_EVENT_BYTES} bytes; in a batch, {MAX_BATCH_BYTES} bytes or {MAX_BATCH_EVENTS} events.",
    415: "Compressed with something other than gzip.",
    429: "Too many events from this address.",
    503: "Temporarily unavailable; retry with the same message ids.",
}


def _describe_errors(statuses: Iterable[int]) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    wait = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return {
        str(status): {
            "description": _MEANINGS[status],
            "content": content,
            **({"headers": wait} if status in (429, 503) else {}),
        }
        for status in (*statuses, 405)
    }
