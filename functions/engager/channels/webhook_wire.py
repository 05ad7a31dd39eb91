"""One POST over HTTPS that a receiver can neither redirect to another host nor keep waiting.

    resolve once ──▶ every address public? ──▶ connect to one of these addresses ──▶ TLS for the host's name ──▶ POST

The host is resolved once, and the connection goes to an address that was checked. So DNS rebinding has no effect. There
is no proxy, no redirect and no retry. One deadline covers everything from the look-up to the last byte of the response:
each wait gets the time that is left, so a receiver that sends a byte a second gains nothing.
"""

import http.client
import io
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

from engager.channels.webhook_address import HTTPS_PORT, IsPublic, Resolve, Target, is_public, resolve
from shared.addresses import ascii_host
from shared.errors import OpportuneError

TIME_LIMIT_S = 3.0
MAX_RESPONSE_BYTES = 64 * 1024
MAX_ADDRESSES = 3


class Post(Protocol):
    """POST *body* to a target once and return the status; raises `PostFailed`."""

    def __call__(self, target: Target, headers: Mapping[str, str], body: bytes) -> int: ...


class PostFailed(OpportuneError):
    """There was no response. ``code`` says why, ``retryable`` whether a retry may help."""

    code = "no_response"
    retryable = True


class Unsendable(PostFailed):
    """The request cannot be written, so nothing was sent, and a retry would fail too."""

    code = "invalid_request"
    retryable = False


class ForbiddenAddress(PostFailed):
    """At least one address of the host is not public."""

    code = "forbidden_address"
    retryable = False


class Deadline:
    """A point in time *seconds* from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, always more than 0; raises `TimeoutError` once there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def https_post(
    *,
    resolve: Resolve = resolve,
    is_public: IsPublic = is_public,
    context: ssl.SSLContext | None = None,
    port: int = HTTPS_PORT,
    limit_s: float = TIME_LIMIT_S,
) -> Post:
    """Return a `Post` over HTTPS. Each call takes *limit_s* at most. *context*: the authorities to trust."""
    trust = context or ssl.create_default_context()

    def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
        deadline = Deadline(limit_s)
        addresses = _resolved(target.host, resolve, deadline)
        if not all(is_public(address) for address in addresses):
            raise ForbiddenAddress("the host has an address that is not public")
        with (
            closing(_connected(addresses, port, deadline)) as plain,
            _tls(plain, trust, target.host, deadline) as sock,
        ):
            return _exchange(sock, target, headers, body, deadline)

    return post


def sink_post(address: str, *, limit_s: float = TIME_LIMIT_S) -> Post:
    """Return a `Post` that sends all webhooks to *address*, http://host:port/path, for the local system.

    The header ``Opportune-Url`` says where each webhook would have gone.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""

    def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
        deadline = Deadline(limit_s)
        sink_headers = {**headers, "Opportune-Url": f"https://{target.host}{target.path}"}
        with closing(_connected([host], parts.port or 80, deadline)) as sock:
            return _exchange(sock, Target(parts.netloc, parts.path or "/"), sink_headers, body, deadline)

    return post


def _resolved(host: str, resolve: Resolve, deadline: Deadline) -> Sequence[str]:
    """Return the addresses of *host*. A thread does the look-up, so that a silent name server can time out."""
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    results: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            results.put(resolve(host))
        except OSError as error:
            results.put(error)
        except UnicodeError as error:  # a label is too long
            results.put(OSError(str(error)))

    threading.Thread(target=look_up, daemon=True).start()
    try:
        result = results.get(timeout=deadline.left())
    except queue.Empty as error:
        raise PostFailed("the DNS look-up timed out", code="dns_timeout") from error
    if isinstance(result, OSError) or not result:
        raise PostFailed("the host has no address", code="dns_failed")
    return result


def _connected(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    """Return a connection to the first of *addresses* that accepts one."""
    tried = addresses[:MAX_ADDRESSES]
    for index, address in enumerate(tried):
        try:
            # Give each address a fair share, so that a silent one does not use up the time of the others.
            sock = socket.create_connection((address, port), timeout=deadline.left() / (len(tried) - index))
        except OSError:
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise PostFailed("no address accepted the connection", code="connect_failed")


def _tls(sock: socket.socket, trust: ssl.SSLContext, host: str, deadline: Deadline) -> ssl.SSLSocket:
    """Return *sock* with TLS on it, once the server has proved to be *host*."""
    if ascii_host(host) is None:  # no certificate can be for it, and `ssl` would leave the socket open
        raise Unsendable("the host is not a host name", code="invalid_host")
    secure = trust.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        secure.settimeout(deadline.left())  # covers the whole handshake
        secure.do_handshake()
    except OSError as error:
        secure.close()
        code = "tls_certificate" if isinstance(error, ssl.SSLCertVerificationError) else "tls_failed"
        raise PostFailed(f"the TLS handshake failed: {type(error).__name__}", code=code) from error
    return secure


def _exchange(sock: socket.socket, target: Target, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> int:
    """Send the request and return the status of the response."""
    connection = http.client.HTTPConnection(target.host)
    connection.sock = _Timed(sock, deadline)
    try:
        try:
            connection.request("POST", target.path, body, {"Host": target.host, "Connection": "close", **headers})
        except (ValueError, http.client.InvalidURL) as error:
            raise Unsendable(f"the request cannot be written: {type(error).__name__}") from error
        response = connection.getresponse()
    except TimeoutError as error:
        raise PostFailed("the response timed out", code="timeout") from error
    except (OSError, http.client.HTTPException) as error:
        raise PostFailed(f"the connection was lost: {type(error).__name__}", code="connection_lost") from error
    # The status is enough. Read the rest, within limits, so that a receiver that is still writing is not cut off.
    with suppress(OSError, http.client.HTTPException):
        while response.read(8192):
            pass
    return response.status


class _Timed:
    """A socket, as `http.client` uses it, on which every wait ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._sock.settimeout(self._deadline.left())
            rest = rest[self._sock.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - the signature of sockets
        return io.BufferedReader(_Response(self._sock, self._deadline))

    def close(self) -> None:
        """Do nothing: `https_post` closes the socket."""


class _Response(io.RawIOBase):
    """The bytes of a response, headers included; fails beyond the limit."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = MAX_RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise OSError("the response is too long")
        self._sock.settimeout(self._deadline.left())
        count = self._sock.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count
