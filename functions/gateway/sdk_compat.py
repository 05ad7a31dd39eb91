"""Endpoints that third-party tracker libraries need besides the tracking API, so that they work unchanged."""

import re
from typing import Any

from gateway.ports import Deps
from gateway.request import Request, Response, json_response
from gateway.write_keys import SiteAccess
from shared.errors import Forbidden, InvalidRequest

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
_CACHED = {"Cache-Control": "public, max-age=300"}


def serve_segment_settings(request: Request, deps: Deps) -> Response:
    """Return settings that tell Segment's browser and mobile libraries to send events here with the same key."""
    key = request.parameters["key"]
    _authenticate_page(key, request, deps)
    api = {
        "apiKey": key,
        "apiHost": f"{_check_host(request)}/v1",
        "protocol": "http" if _is_plain(request) else "https",
    }
    return json_response(200, {"integrations": {"Segment.io": api}, "metrics": {"sampleRate": 0}}, _CACHED)


def serve_rudder_config(request: Request, deps: Deps) -> Response:
    """Return the source configuration for RudderStack's browser library: enabled, with no other destinations."""
    access = _authenticate_page(request.read_write_key({}), request, deps)
    source: dict[str, Any] = {
        "id": access.site,
        "name": access.site,
        "workspaceId": access.site,
        "enabled": True,
        "config": {},
        "destinations": [],
    }
    return json_response(200, {"source": source}, {"Cache-Control": "private, max-age=300"})


def discard_metrics(request: Request, deps: Deps) -> Response:  # noqa: ARG001 - the signature of an endpoint
    """Accept and discard a library's metrics. The library would retry an error."""
    return json_response(200, {"success": True})


def _authenticate_page(key: str, request: Request, deps: Deps) -> SiteAccess:
    access = deps.decider.authenticate(key)
    if access.trusted:
        raise Forbidden("this is a secret key; pages and apps must use a public one", code="secret_key_in_browser")
    access.check_origin(request.headers.get("origin", ""))
    return access


def _is_plain(request: Request) -> bool:
    return request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() == "http"


def _check_host(request: Request) -> str:
    """Return the host that the client asked for; raise `InvalidRequest` if it is not a host name."""
    host = request.client.host
    if not _HOST.fullmatch(host):
        raise InvalidRequest("the Host header is not a valid host name", code="invalid_host")
    return host
