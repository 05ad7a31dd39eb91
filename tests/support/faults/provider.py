"""A fake provider on 127.0.0.1 that fails in every known way, and records what it accepted.

It handles a call in the next mode of `Provider.will`, or else in `Provider.mode`:

ok, slow             accepts and responds, immediately or after `SLOW_S`
throttle             rejects: too many requests
error                500, not accepted
reset                breaks the connection, not accepted
accept_then_timeout  accepts and never responds
accept_then_reset    accepts, then breaks the connection
duplicate            accepts and responds; a scheduler fires twice
drop                 accepts and responds; a scheduler never fires
"""

import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple, Self

from tests.support.faults.history import Called, History

Mode = Literal[
    "ok",
    "slow",
    "throttle",
    "error",
    "reset",
    "accept_then_timeout",
    "accept_then_reset",
    "duplicate",
    "drop",
]
SLOW_S = 1.0
POLL_S = 0.05
RESET = struct.pack("ii", 1, 0)


class Request(NamedTuple):
    """A request to a provider."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """A response: status, body, headers."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)


class Call(NamedTuple):
    """The subject of a request: provider, activation, and the idempotency key, if any."""

    provider: str
    activation: str
    key: str = ""


class Provider:
    """One provider. Subclasses define the subject of a request, and its response.

    ``history``: the history of the current trial, if any; calls are written to it.
    """

    delivers = True
    throttled = Reply(429, b'{"message": "slow down"}', (("x-amzn-ErrorType", "TooManyRequestsException"),))
    broken = Reply(500, b'{"message": "oops"}', (("x-amzn-ErrorType", "InternalServiceErrorException"),))

    def __init__(self) -> None:
        self.mode: Mode = "ok"  # the mode of all other calls
        self.history: History | None = None
        self.choose: Callable[[], Mode | None] = lambda: None
        self.accepted = 0
        self._ordered: deque[Mode] = deque()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stopping = threading.Event()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def will(self, *modes: Mode) -> None:
        """Handle the next calls in these modes."""
        with self._lock:
            self._ordered.extend(modes)

    def mend(self) -> None:
        """Recover."""
        with self._lock:
            self._ordered.clear()
            self.mode = "ok"
            self.choose = lambda: None

    def reset(self, history: History | None) -> None:
        """Recover, and write to *history* from now on."""
        self.mend()
        with self._lock:
            self.history, self.accepted = history, 0

    def wait_accepted(self, count: int, timeout_s: float = 20) -> None:
        """Wait until *count* calls were accepted since the last reset."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.accepted >= count, timeout_s), f"{self.accepted} of {count}"

    def call(self, request: Request) -> Call:
        """Return the subject of *request*."""
        raise NotImplementedError

    def agrees(self) -> bool:
        """Return whether its response means acceptance."""
        return True

    def question(self, request: Request) -> Reply | None:  # noqa: ARG002 - most have none
        """Return the response to a query without effect, which never fails."""
        return None

    def reply(self, request: Request, mode: Mode) -> Reply:
        """Return the response to an accepted request."""
        raise NotImplementedError

    def answer(self, request: Request, connection: socket.socket) -> Reply | None:
        """Handle one request; return ``None`` to break the connection."""
        began = time.time()
        if (told := self.question(request)) is not None:
            return told
        with self._lock:
            mode = self._ordered.popleft() if self._ordered else self.choose() or self.mode
        if mode == "slow":
            self._stopping.wait(SLOW_S)
        is_well = mode not in ("throttle", "error", "reset")
        accepts = is_well and self.agrees()
        provider, activation, key = self.call(request)
        reply = self.reply(request, mode) if is_well else None
        with self._changed:
            if self.history is not None and self.delivers:
                self.history.add(Called(provider, activation, mode, accepts, began, time.time(), key))
            self.accepted += accepts
            self._changed.notify_all()
        if mode == "accept_then_timeout":
            self._stall(connection)
        if mode in ("reset", "accept_then_reset", "accept_then_timeout"):
            return None
        return {"throttle": self.throttled, "error": self.broken}.get(mode, reply)

    def _stall(self, connection: socket.socket) -> None:
        """Wait until the caller has given up, or has died."""
        connection.settimeout(POLL_S)
        while not self._stopping.is_set():
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore callers that were killed."""


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        reply = self.server.provider.answer(request, self.connection)
        if reply is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.status != 204:
            self.wfile.write(reply.body)

    do_POST = do_DELETE = do_PUT = _answer  # noqa: N815 - the names that the base class looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
        """Log nothing."""
