"""What other people's libraries ask for before or beside their events, so that they work unchanged."""

import re
from typing import Any

from gateway.ports import Deps
from gateway.request import Request, Response, json_answer
from gateway.write_keys import Access
from shared.errors import Forbidden, InvalidRequest

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
_CACHED = {"Cache-Control": "public, max-age=300"}


def segment_settings(request: Request, deps: Deps) -> Response:
    """Answer Segment's browser and mobile libraries: send everything here, under this key."""
    key = request.parameters["key"]
    _admit(key, request, deps)
    api = {
        "apiKey": key,
        "apiHost": f"{_host(request)}/v1",
        "protocol": "http" if _is_plain(request) else "https",
    }
    return json_answer(200, {"integrations": {"Segment.io": api}, "metrics": {"sampleRate": 0}}, _CACHED)


def rudder_source_config(request: Request, deps: Deps) -> Response:
    """Answer RudderStack's browser library: the source is there, and has no destination but us."""
    access = _admit(request.key({}), request, deps)
    source: dict[str, Any] = {
        "id": access.site,
        "name": access.site,
        "workspaceId": access.site,
        "enabled": True,
        "config": {},
        "destinations": [],
    }
    return json_answer(200, {"source": source}, {"Cache-Control": "private, max-age=300"})


def dropped(request: Request, deps: Deps) -> Response:  # noqa: ARG001 - an endpoint like the others
    """Take what a library reports about itself, and do nothing with it: a refusal would be sent again."""
    return json_answer(200, {"success": True})


def _admit(key: str, request: Request, deps: Deps) -> Access:
    access = deps.decisions.admit(key)
    if access.secret:
        raise Forbidden("this is a secret key; pages and apps use a public one", code="secret_key_in_browser")
    access.check_origin(request.headers.get("origin", ""))
    return access


def _is_plain(request: Request) -> bool:
    return request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() == "http"


def _host(request: Request) -> str:
    """Return where the request was sent to: API Gateway, or CloudFront, has let it through by that name."""
    host = request.client.host
    if not _HOST.fullmatch(host):
        raise InvalidRequest("the Host header is no host's name", code="invalid_host")
    return host
