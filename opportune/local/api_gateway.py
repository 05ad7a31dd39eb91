"""What API Gateway's HTTP API does: request → event v2.0 → function → response."""

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
    """Serve *invoke* (the Gateway's pool) over HTTP, and *demo_dir* below ``/demo/``.

    *functions*: others that answer all requests below a path, such as ``/unsubscribe`` (on AWS they have an API of
    their own); *pages*: what the laptop alone has, by its path, to be read.
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
            too_large=_told(413, "Request Entity Too Large"),
            failed=_told(500, "Internal Server Error"),
        )
        self.url = self._server.url

    def start(self) -> None:
        """Begin to serve in the background."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()

    def _answer(self, request: Request) -> Response:
        path = request.target.partition("?")[0]
        reads = request.method in ("GET", "HEAD")
        if reads and path in self._pages:
            return self._pages[path](request)
        if reads and self._demo_dir is not None:
            if path in ("/", DEMO[:-1]):
                return Response(302, headers=[("Location", DEMO)])
            if path.startswith(DEMO):
                return serve_file(self._demo_dir, path[len(DEMO) :])
        try:
            answer = self._function(path)(msgspec.json.encode(to_event(request)))
        except Throttled:
            return _told(503, "Service Unavailable")
        except LocalStackError as error:
            return _told(503, error.message)
        if answer.error:
            return _told(500, "Internal Server Error")
        return to_response(answer.payload)

    def _function(self, path: str) -> Invoke:
        """Return the function that answers requests to the undecoded *path*."""
        first = "/" + path[1:].partition("/")[0]
        return self._functions.get(first, self._invoke)


def to_event(request: Request) -> dict[str, Any]:
    """Return the API Gateway event, payload format 2.0, of *request*.

    As HTTP APIs do: the path is decoded, repeated headers and parameters are joined by commas,
    cookies stand apart, and only bodies of a few textual types stay text.
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
    """Return the HTTP response to a function's answer, in format 2.0 or in the simple format.

    An answer that API Gateway could not use gives 500.
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
        # The server frames the body itself.
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
        return _told(500, "Internal Server Error")


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


def _told(status: int, message: str) -> Response:
    # API Gateway's own answers have no code and no CORS headers, and an HTTP API cannot change them.
    return Response(status, json.dumps({"message": message}).encode(), [("Content-Type", "application/json")])
