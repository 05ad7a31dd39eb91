"""Act as API Gateway's HTTP API: turn a request into an event v2.0, call a function, return its response."""

import base64
import binascii
import json
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from opportune.local.aws import ACCOUNT
from opportune.local.environments import InvocationResult
from opportune.local.http_server import Handler as Page
from opportune.local.http_server import HttpServer, Request, Response
from opportune.local.static_site import serve_file
from opportune.system.errors import LocalStackError, Throttled

MAX_BODY_BYTES = 10 * 1024 * 1024
DEMO = "/demo/"
_TEXT_TYPES = {"application/json", "application/javascript", "application/xml"}

Invoke = Callable[[bytes], InvocationResult]


class ApiGateway:
    """Serve the functions over HTTP.

    invoke: calls the Gateway
    port: None for any free one
    demo_dir: folder to serve below ``/demo/``, or None
    functions: other functions by the first part of their path, such as ``/unsubscribe``; on AWS they have
        their own API
    pages: pages that exist only on this machine, by path
    """

    def __init__(
        self,
        invoke: Invoke,
        *,
        port: int | None,
        demo_dir: Path | None,
        functions: Mapping[str, Invoke] = MappingProxyType({}),
        pages: Mapping[str, Page] = MappingProxyType({}),
    ) -> None:
        self._invoke = invoke
        self._demo_dir = demo_dir
        self._functions = functions
        self._pages = pages
        self._server = HttpServer(
            self._answer,
            port=port,
            max_body=MAX_BODY_BYTES,
            too_large=_error(413, "Request Entity Too Large"),
            failed=_error(500, "Internal Server Error"),
        )
        self.url = self._server.url

    def start(self) -> None:
        """Start serving in the background."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()

    def _answer(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        is_read = request.method in ("GET", "HEAD")
        if is_read and path in self._pages:
            return self._pages[path](request)
        if is_read and self._demo_dir is not None:
            if path in ("/", DEMO[:-1]):
                return Response(302, headers=[("Location", DEMO)])
            if path.startswith(DEMO):
                return serve_file(self._demo_dir, path[len(DEMO) :])
        try:
            answer = self._function(path)(msgspec.json.encode(to_event(request)))
        except Throttled:
            return _error(503, "Service Unavailable")
        except LocalStackError as error:
            return _error(503, error.message)
        if answer.error:
            return _error(500, "Internal Server Error")
        return to_response(answer.payload)

    def _function(self, path: str) -> Invoke:
        """Return the function for the *path* of a request."""
        first = "/" + path[1:].partition("/")[0]
        return self._functions.get(first, self._invoke)


def to_event(request: Request) -> dict[str, Any]:
    """Return the API Gateway event (payload format 2.0) of *request*.

    Like an HTTP API, decode the path, join repeated headers and parameters with commas, list cookies
    separately, and pass the body as text only for a few textual types.
    """
    path, _, query = request.target.partition("?")
    path = unquote(path)
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in request.headers:
        key = name.lower()
        if key == "cookie":
            cookies += [cookie.strip() for cookie in value.split(";")]
        else:
            headers[key] = f"{headers[key]},{value}" if key in headers else value
    headers["x-forwarded-for"] = ", ".join(filter(None, (headers.get("x-forwarded-for"), request.source_ip)))
    headers.setdefault("x-forwarded-proto", "http")
    domain = headers.get("host", "").rpartition(":")[0] or headers.get("host", "localhost")
    now = time.time()
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "local",
            "domainName": domain,
            "domainPrefix": domain.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": request.protocol,
                "sourceIp": request.source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": uuid.uuid4().hex,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now)),
            "timeEpoch": int(now * 1000),
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if query:
        parameters: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
        event["queryStringParameters"] = parameters
    if request.body:
        event["body"], event["isBase64Encoded"] = _body(headers, request.body)
    return event


def to_response(payload: bytes) -> Response:
    """Return the HTTP response for a function's *payload*, in format 2.0 or in the simple format.

    A payload that API Gateway could not use becomes a 500.
    """
    try:
        answer = msgspec.json.decode(payload)
        if not isinstance(answer, dict) or "statusCode" not in answer:
            body = answer.encode() if isinstance(answer, str) else payload
            return Response(200, body, [("Content-Type", "application/json")])
        headers = [(name, _text(value)) for name, value in (answer.get("headers") or {}).items()]
        for name, values in (answer.get("multiValueHeaders") or {}).items():
            headers = [header for header in headers if header[0].lower() != name.lower()]
            headers += [(name, _text(value)) for value in values]
        headers += [("Set-Cookie", cookie) for cookie in answer.get("cookies") or ()]
        # The server sets these headers itself.
        headers = [header for header in headers if header[0].lower() not in ("content-length", "connection")]
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "text/plain;charset=UTF-8"))
        if any("\r" in part or "\n" in part for header in headers for part in header):
            raise ValueError("a header with a line break")
        body = (answer.get("body") or "").encode()
        if answer.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True)
        return Response(int(answer["statusCode"]), body, headers)
    except (msgspec.DecodeError, binascii.Error, ValueError, TypeError, AttributeError):
        return _error(500, "Internal Server Error")


def _body(headers: dict[str, str], body: bytes) -> tuple[str, bool]:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if "content-encoding" not in headers and (kind.startswith("text/") or kind in _TEXT_TYPES):
        try:
            return body.decode("utf-8"), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode("ascii"), True


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error(status: int, message: str) -> Response:
    # API Gateway's own errors have no code and no CORS headers, and an HTTP API cannot change that.
    return Response(status, json.dumps({"message": message}).encode(), [("Content-Type", "application/json")])
