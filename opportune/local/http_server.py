"""A small HTTP/1.1 server for 127.0.0.1 that maps a request to a response.

It uses keep-alive, no Nagle delay and one write per response, so response times are those of the functions.
"""

import contextlib
import errno
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opportune.system.errors import LocalStackError
from opportune.system.ports import HOST

_LOG = logging.getLogger("opportune.local.http")
_MAX_DISCARDED = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


@dataclass(frozen=True)
class Request:
    """A request as received.

    target: not decoded
    headers: in order
    body: without transfer coding
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str

    def header(self, name: str) -> str:
        """Return the first header called *name* (lower case), or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True)
class Response:
    """A response; the server adds Content-Length. A *stream* replaces the body and lasts while the client listens."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: Generator[bytes] | None = None


Handler = Callable[[Request], Response]


class BodyTooLarge(Exception):
    """The body exceeds the server's limit."""


class HttpServer:
    """Serve *handler* on 127.0.0.1.

    port: None for any free one
    max_body: in bytes; a larger body gets the response *too_large*
    failed: the response if *handler* raises

    Raise `LocalStackError` if the port is in use.
    """

    def __init__(
        self, handler: Handler, *, port: int | None, max_body: int, too_large: Response, failed: Response
    ) -> None:
        self.handler = handler
        self.max_body = max_body
        self.too_large = too_large
        self.failed = failed
        self._thread: threading.Thread | None = None
        try:
            self._server = _Server(self, port or 0)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise LocalStackError(
                f"cannot use port {port} on {HOST} ({error.strerror}): "
                "stop the program that uses it, or choose another port"
            ) from error

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Start serving in the background."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port and all connections. May be called twice."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.server_close()
        self._server.close_connections()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: HttpServer, port: int) -> None:
        self.owner = owner
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Connection)

    def server_bind(self) -> None:
        # HTTPServer would look up the host name.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # The client may disconnect at any time.
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            self.close_connection = True
            return
        if not self.parse_request():
            return
        owner = self.server.owner
        try:
            body = self._body(owner.max_body)
        except BodyTooLarge:
            self.close_connection = True
            self._write(owner.too_large)
            return
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST, "malformed body framing")
            self.close_connection = True
            return
        request = Request(
            method=self.command,
            target=self.path,
            headers=list(self.headers.items()),
            body=body,
            source_ip=self.client_address[0],
            protocol=self.request_version,
        )
        try:
            response = owner.handler(request)
        except Exception:  # noqa: BLE001 - the client must get a response; the log has the traceback
            _LOG.exception("%s %s failed", self.command, self.path)
            response = owner.failed
        self._write(response)

    def _body(self, max_body: int) -> bytes:
        """Read the body. Read even a body that is too large to its end, or the client would not see the response."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunked(max_body)
        length = int(self.headers.get("Content-Length", 0))
        if length < 0:
            raise ValueError("negative length")
        if length > max_body:
            left = min(length, _MAX_DISCARDED)
            while left > 0 and (piece := self.rfile.read(min(left, _CHUNK))):
                left -= len(piece)
            raise BodyTooLarge
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise ConnectionResetError("the client disconnected while it sent its body")
        return body

    def _chunked(self, max_body: int) -> bytes:
        body = bytearray()
        total = 0
        while size := int(self.rfile.readline(1024).partition(b";")[0], 16):
            total += size
            if total > _MAX_DISCARDED:
                raise BodyTooLarge
            piece = self.rfile.read(size)
            self.rfile.readline(8)
            if total <= max_body:
                body += piece
        while self.rfile.readline(65537).strip():
            pass
        if total > max_body:
            raise BodyTooLarge
        return bytes(body)

    def _write(self, response: Response) -> None:
        try:
            phrase = HTTPStatus(response.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {response.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        body = response.body
        if response.stream is not None:
            self.close_connection = True
        if response.status in _BODILESS:
            body = b""
        elif response.stream is None:
            lines.append(f"Content-Length: {len(body)}")
        if self.close_connection:
            lines.append("Connection: close")
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.wfile.write(head.encode("latin-1", "replace") + (b"" if self.command == "HEAD" else body))
        if response.stream is not None and self.command != "HEAD":
            with contextlib.closing(response.stream) as stream:
                for part in stream:
                    self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so in the base class
        _LOG.debug(format, *args)
