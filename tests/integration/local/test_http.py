"""The HTTP endpoint: the event that a function gets, and the response that a browser gets."""

import base64
import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from opportune.local.api_gateway import MAX_BODY_BYTES, ApiGateway, to_response
from opportune.local.environments import InvocationResult
from opportune.local.http_server import Response
from opportune.system.errors import LocalStackError, Throttled


class RecordingGateway:
    """A stand-in for the Gateway's pool: it keeps the last event and returns the prepared answer."""

    def __init__(self) -> None:
        self.event: dict[str, Any] = {}
        self.answer: object = {"statusCode": 200, "body": "{}"}
        self.error: str | None = None
        self.failure: LocalStackError | None = None

    def __call__(self, payload: bytes) -> InvocationResult:
        """Record the event and answer."""
        self.event = json.loads(payload)
        if self.failure:
            raise self.failure
        return InvocationResult(json.dumps(self.answer).encode(), self.error)


@pytest.fixture
def gateway() -> RecordingGateway:
    """Return the function that the endpoint calls."""
    return RecordingGateway()


@pytest.fixture
def front(gateway: RecordingGateway, tmp_path: Path) -> Iterator[ApiGateway]:
    """Return a started endpoint with a small demo site."""
    demo = tmp_path / "demo"
    (demo / "css").mkdir(parents=True)
    (demo / "index.html").write_text("<title>Demo</title>")
    (demo / "css" / "shop.css").write_text("body {}")
    (tmp_path / "secret.txt").write_text("secret")
    (demo / "link.txt").symlink_to(tmp_path / "secret.txt")
    started = ApiGateway(gateway, port=None, demo_dir=demo)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def connection(front: ApiGateway) -> Iterator[http.client.HTTPConnection]:
    """Return a connection to the endpoint."""
    opened = http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=5)
    yield opened
    opened.close()


def _call(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, named)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_json_body_stays_text(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """A JSON request becomes an event of payload format 2.0 with a text body."""
    sent = time.time() * 1000
    _call(
        connection,
        "POST",
        "/v1/track?a=1",
        '{"ä": 1}'.encode(),
        Content_Type="application/json",
        User_Agent="t/1",
    )
    event = gateway.event
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert (event["rawPath"], event["rawQueryString"]) == ("/v1/track", "a=1")
    assert (event["body"], event["isBase64Encoded"]) == ('{"ä": 1}', False)
    assert event["headers"]["content-type"] == "application/json"
    context = event["requestContext"]
    assert context["http"] == {
        "method": "POST",
        "path": "/v1/track",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "t/1",
    }
    assert (context["stage"], context["domainName"]) == ("$default", "127.0.0.1")
    assert abs(context["timeEpoch"] - sent) < 5000
    assert context["requestId"]
    assert context["time"].endswith(" +0000")


def test_gzip_and_unknown_bodies_come_as_base64(
    connection: http.client.HTTPConnection, gateway: RecordingGateway
) -> None:
    """A body is base64-encoded if it is compressed, binary, of unknown type or not valid text."""
    packed = gzip.compress(b"{}")
    _call(connection, "POST", "/v1/b", packed, Content_Type="application/json", Content_Encoding="gzip")
    assert gateway.event["isBase64Encoded"] is True
    assert base64.b64decode(gateway.event["body"]) == packed
    for body, headers in (
        (b"a=1", {"Content_Type": "application/x-www-form-urlencoded"}),
        (b"{}", {}),
        (b"\xff", {"Content_Type": "text/plain"}),
    ):
        _call(connection, "POST", "/v1/b", body, **headers)
        assert (base64.b64decode(gateway.event["body"]), gateway.event["isBase64Encoded"]) == (body, True)


def test_chunked_body_is_put_together(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """A chunked body arrives complete, and the connection stays usable."""
    connection.request("POST", "/v1/t", iter([b"ab", b"cde"]), {"Content-Type": "text/plain"}, encode_chunked=True)
    assert connection.getresponse().read() == b"{}"
    assert gateway.event["body"] == "abcde"
    assert _call(connection, "GET", "/x")[0] == 200


def test_query_headers_and_cookies(front: ApiGateway, gateway: RecordingGateway) -> None:
    """Repeated headers and parameters are joined with commas, cookies are separate, and the path is decoded."""
    with socket.create_connection(("127.0.0.1", int(front.url.rpartition(":")[2])), timeout=5) as raw:
        raw.sendall(
            b"GET /v1/a%20b?x=1&x=2&y=%26&z HTTP/1.1\r\nHost: shop.example:80\r\nX-A: 1\r\nx-a: 2\r\n"
            b"Cookie: a=b; c=d\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close\r\n\r\n"
        )
        raw.recv(4096)
    event = gateway.event
    assert event["rawPath"] == "/v1/a b"
    assert event["rawQueryString"] == "x=1&x=2&y=%26&z"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "&", "z": ""}
    assert event["headers"]["x-a"] == "1,2"
    assert event["headers"]["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    assert event["cookies"] == ["a=b", "c=d"]
    assert "cookie" not in event["headers"]
    assert "body" not in event


def test_cors_headers_pass_through(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """A preflight reaches the function, and the browser gets its CORS headers unchanged."""
    gateway.answer = {
        "statusCode": 204,
        "headers": {"access-control-allow-origin": "https://shop.example", "access-control-max-age": 86400},
        "cookies": ["a=1", "b=2"],
    }
    connection.request("OPTIONS", "/v1/t", headers={"Origin": "https://shop.example"})
    answer = connection.getresponse()
    assert answer.read() == b""
    assert answer.status == 204
    assert answer.getheader("Access-Control-Allow-Origin") == "https://shop.example"
    assert answer.getheader("Access-Control-Max-Age") == "86400"
    assert answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert gateway.event["headers"]["origin"] == "https://shop.example"
    assert gateway.event["requestContext"]["http"]["method"] == "OPTIONS"


def test_responses_in_all_formats(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """Base64 bodies, multi-value headers and the simple format become what API Gateway would send."""
    gateway.answer = {
        "statusCode": 201,
        "multiValueHeaders": {"content-type": ["image/png"]},
        "body": base64.b64encode(b"\x00\xff").decode(),
        "isBase64Encoded": True,
    }
    status, headers, body = _call(connection, "GET", "/x")
    assert (status, headers["content-type"], body) == (201, "image/png", b"\x00\xff")
    gateway.answer = {"success": True}
    status, headers, body = _call(connection, "GET", "/x")
    assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", {"success": True})
    gateway.answer = "plain"
    assert _call(connection, "GET", "/x")[2] == b"plain"


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "often"},
        {"statusCode": 200, "body": {"not": "text"}},
        {"statusCode": 200, "body": "%", "isBase64Encoded": True},
        {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
        {"statusCode": 200, "headers": ["a"]},
    ],
)
def test_malformed_answers_are_an_internal_error(answer: object) -> None:
    """An answer that API Gateway could not use becomes a 500."""
    assert to_response(json.dumps(answer).encode()).status == 500


def test_errors_of_the_function_are_hidden(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """A function error becomes a 500 without details; a throttled function becomes a 503."""
    gateway.error, gateway.answer = "Unhandled", {"errorMessage": "secret"}
    status, headers, body = _call(connection, "POST", "/v1/t", b"{}")
    assert status == 500
    assert json.loads(body) == {"message": "Internal Server Error"}
    assert headers["content-type"] == "application/json"
    gateway.failure = Throttled("busy")
    assert _call(connection, "POST", "/v1/t", b"{}")[0] == 503


def test_too_large_bodies_are_refused(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """Ten megabytes are accepted. One byte more becomes a 413, and the function is not called."""
    assert _call(connection, "POST", "/v1/b", b"x" * MAX_BODY_BYTES)[0] == 200
    gateway.event = {}
    status, _, body = _call(connection, "POST", "/v1/b", b"x" * (MAX_BODY_BYTES + 1))
    assert (status, json.loads(body)) == (413, {"message": "Request Entity Too Large"})
    assert gateway.event == {}
    assert _call(connection, "GET", "/x")[0] == 200


def test_the_demo_site_is_served(connection: http.client.HTTPConnection, gateway: RecordingGateway) -> None:
    """Files have their types, the root redirects, and no request reaches the function."""
    status, headers, _ = _call(connection, "GET", "/")
    assert (status, headers["location"]) == (302, "/demo/")
    status, headers, body = _call(connection, "GET", "/demo/")
    assert (status, body) == (200, b"<title>Demo</title>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert _call(connection, "GET", "/demo/css/shop.css?v=1")[1]["content-type"] == "text/css; charset=utf-8"
    status, headers, body = _call(connection, "HEAD", "/demo/index.html")
    assert (status, headers["content-length"], body) == (200, "19", b"")
    assert gateway.event == {}


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "%2e%2e/secret.txt",
        "css/..%2f..%2fsecret.txt",
        "link.txt",
        "%2fetc/passwd",
        "none",
        "%00",
        "css/",
    ],
)
def test_nothing_outside_the_demo_site_is_served(connection: http.client.HTTPConnection, path: str) -> None:
    """Traversal, absolute paths, symbolic links and folders without an index become a 404."""
    assert _call(connection, "GET", f"/demo/{path}")[0] == 404


def test_a_busy_port_is_named(front: ApiGateway, gateway: RecordingGateway) -> None:
    """The error names the port and says what to do."""
    port = int(front.url.rpartition(":")[2])
    with pytest.raises(LocalStackError, match=f"port {port} .*choose another port"):
        ApiGateway(gateway, port=port, demo_dir=None)


def test_stop_closes_open_connections(front: ApiGateway, connection: http.client.HTTPConnection) -> None:
    """An open connection is closed with the endpoint. Stopping twice is harmless."""
    assert _call(connection, "GET", "/x")[0] == 200
    front.stop()
    front.stop()
    connection.auto_open = 0  # the open one, not a new one
    with pytest.raises((OSError, http.client.HTTPException)):
        _call(connection, "GET", "/x")
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=1).request("GET", "/x")


def test_paths_of_other_functions_and_pages(gateway: RecordingGateway) -> None:
    """A function gets all requests below its path, pages answer reads, and the Gateway gets the rest."""
    preferences = RecordingGateway()
    front = ApiGateway(
        gateway,
        port=None,
        demo_dir=None,
        functions={"/unsubscribe": preferences},
        pages={"/outbox": lambda _: Response(200, b"page")},
    )
    front.start()
    connection = http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=5)
    try:
        for method, path in [
            ("GET", "/unsubscribe/a%2Fb?c=d"),
            ("POST", "/unsubscribe/token"),
            ("GET", "/unsubscribe"),
        ]:
            _call(connection, method, path)
            assert preferences.event["rawPath"] == unquote(path.partition("?")[0])
            assert preferences.event["requestContext"]["http"]["method"] == method
        assert gateway.event == {}
        assert _call(connection, "GET", "/outbox?x=1")[2] == b"page"
        assert gateway.event == {}
        for method, path in [("POST", "/outbox"), ("GET", "/unsubscribed/x")]:
            _call(connection, method, path)
            assert gateway.event["rawPath"] == path
    finally:
        connection.close()
        front.stop()
