"""A small HTTP/1.1 server for 127.0.0.1: a function from request to response, nothing else.

Keep-alive, no Nagle delay, one write per response: what an answer costs is what it costs in the
functions behind it.
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
_DISCARD_AT_MOST = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


@dataclass(frozen=True)
class Request:
    """A request as it came: ``target`` undecoded, headers in order, ``body`` without transfer coding."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    source_ip: str
    protocol: str

    def header(self, name: str) -> str:
        """Return the first header called *name* (in lower case), or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")


@dataclass(frozen=True)
class Response:
    """A response; Content-Length is added. ``stream``: instead of a body, as long as the client listens."""

    status: int
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: Generator[bytes] | None = None


Handler = Callable[[Request], Response]


class BodyTooLarge(Exception):
    """The body exceeds the server's limit."""


class HttpServer:
    """Serve *answer* on 127.0.0.1:*port* (None: the system chooses).

    *too_large* is answered to bodies over *max_body* bytes, *failed* when *answer* raises. Raises
    `LocalStackError` if the port is taken.
    """

    def __init__(
        self, answer: Handler, *, port: int | None, max_body: int, too_large: Response, failed: Response
    ) -> None:
        self.answer = answer
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
                f"port {port} on {HOST} cannot be used ({error.strerror}): "
                "stop the program that uses it, or choose another port"
            ) from error

    @property
    def url(self) -> str:
        """The address without a slash at the end."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to serve in the background."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, close the port and all connections. May be called twice."""
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

    def __init__(self, front: HttpServer, port: int) -> None:
        self.front = front
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, port), _Connection)

    def server_bind(self) -> None:
        # HTTPServer would look the host's name up.
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
        # The browser may go away at any time.
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
        front = self.server.front
        try:
            body = self._body(front.max_body)
        except BodyTooLarge:
            self.close_connection = True
            self._write(front.too_large)
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
            response = front.answer(request)
        except Exception:  # noqa: BLE001 - a server must answer; what happened is logged in full
            _LOG.exception("%s %s failed", self.command, self.path)
            response = front.failed
        self._write(response)

    def _body(self, most: int) -> bytes:
        """Read the body; a too large one is read to its end, or the client would not see the answer."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunked(most)
        length = int(self.headers.get("Content-Length", 0))
        if length < 0:
            raise ValueError("negative length")
        if length > most:
            left = min(length, _DISCARD_AT_MOST)
            while left > 0 and (piece := self.rfile.read(min(left, _CHUNK))):
                left -= len(piece)
            raise BodyTooLarge
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise ConnectionResetError("the client went away within its body")
        return body

    def _chunked(self, most: int) -> bytes:
        body = bytearray()
        total = 0
        while size := int(self.rfile.readline(1024).partition(b";")[0], 16):
            total += size
            if total > _DISCARD_AT_MOST:
                raise BodyTooLarge
            piece = self.rfile.read(size)
            self.rfile.readline(8)
            if total <= most:
                body += piece
        while self.rfile.readline(65537).strip():
            pass
        if total > most:
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

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        _LOG.debug(format, *args)
