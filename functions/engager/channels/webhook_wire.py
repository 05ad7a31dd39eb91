"""One POST over HTTPS that nobody can lead astray or hold up.

    resolve once ──▶ every address public? ──▶ connect to one of these addresses ──▶ TLS for the host's name ──▶ POST

The name is looked up once and the connection goes to an address that was checked, so a second, different answer of
the name server changes nothing. No proxy, no redirect, no repetition. All of it, from the look-up to the last byte
of the answer, ends at one deadline: each wait gets what is left, so that a byte a second buys nothing.
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
from shared.errors import OpportuneError

LIMIT_S = 3.0
ANSWER_LIMIT_BYTES = 64 * 1024
ADDRESSES_TRIED = 3


class Post(Protocol):
    """POST *body* to a target once and return the status; raises `WireFailed`."""

    def __call__(self, target: Target, headers: Mapping[str, str], body: bytes) -> int: ...


class WireFailed(OpportuneError):
    """There is no answer. ``code`` says why; ``retryable``: another try may help, and the receiver tells repeats."""

    code = "no_answer"
    retryable = True


class ForbiddenAddress(WireFailed):
    """The host's name leads, with one address at least, to where no webhook may go."""

    code = "forbidden_address"
    retryable = False


class Deadline:
    """An instant *seconds* from now that nothing outlasts."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, more than 0; raises `TimeoutError`."""
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
    limit_s: float = LIMIT_S,
) -> Post:
    """Return the way to a webhook's receiver; each call takes *limit_s* at most. *context*: whom to trust."""
    trust = context or ssl.create_default_context()

    def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
        deadline = Deadline(limit_s)
        addresses = _resolved(target.host, resolve, deadline)
        if not all(is_public(address) for address in addresses):
            raise ForbiddenAddress("the host has an address that is not public")
        with closing(_connected(addresses, port, deadline)) as plain, _tls(plain, trust, target.host, deadline) as sock:
            return _exchange(sock, target, headers, body, deadline)

    return post


def sink_post(address: str, *, limit_s: float = LIMIT_S) -> Post:
    """Return the way to the one *address*, http://host:port/path, that gets all webhooks instead of their own.

    ``Opportune-Url`` says where each would have gone.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""

    def post(target: Target, headers: Mapping[str, str], body: bytes) -> int:
        deadline = Deadline(limit_s)
        meant = {**headers, "Opportune-Url": f"https://{target.host}{target.path}"}
        with closing(_connected([host], parts.port or 80, deadline)) as sock:
            return _exchange(sock, Target(parts.netloc, parts.path or "/"), meant, body, deadline)

    return post


def _resolved(host: str, resolve: Resolve, deadline: Deadline) -> Sequence[str]:
    """Return the addresses of *host*; a name server that does not answer is left to a thread of its own."""
    with suppress(ValueError):
        return [str(ipaddress.ip_address(host))]
    answers: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(resolve(host))
        except OSError as error:
            answers.put(error)
        except UnicodeError as error:  # a label that is too long
            answers.put(OSError(str(error)))

    threading.Thread(target=look_up, daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left())
    except queue.Empty as error:
        raise WireFailed("the name server did not answer in time", code="dns_timeout") from error
    if isinstance(answer, OSError) or not answer:
        raise WireFailed("the host has no address", code="dns_failed")
    return answer


def _connected(addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
    """Return a connection to the first of *addresses* that takes one."""
    tried = addresses[:ADDRESSES_TRIED]
    for index, address in enumerate(tried):
        try:
            # A fair share for each, so that one that is silent does not use up the others' time.
            sock = socket.create_connection((address, port), timeout=deadline.left() / (len(tried) - index))
        except OSError:
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise WireFailed("no connection came about", code="connect_failed")


def _tls(sock: socket.socket, trust: ssl.SSLContext, host: str, deadline: Deadline) -> ssl.SSLSocket:
    """Return *sock* with TLS on it, to somebody who has proved to be *host*."""
    secure = trust.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    try:
        secure.settimeout(deadline.left())  # holds for the handshake as a whole
        secure.do_handshake()
    except OSError as error:
        secure.close()
        code = "tls_certificate" if isinstance(error, ssl.SSLCertVerificationError) else "tls_failed"
        raise WireFailed(f"no TLS came about: {type(error).__name__}", code=code) from error
    return secure


def _exchange(sock: socket.socket, target: Target, headers: Mapping[str, str], body: bytes, deadline: Deadline) -> int:
    """Send the request and return the answer's status."""
    connection = http.client.HTTPConnection(target.host)
    connection.sock = _Timed(sock, deadline)
    try:
        connection.request("POST", target.path, body, {"Host": target.host, "Connection": "close", **headers})
        response = connection.getresponse()
    except TimeoutError as error:
        raise WireFailed("the answer did not come in time", code="timeout") from error
    except (OSError, http.client.HTTPException) as error:
        raise WireFailed(f"the answer did not come: {type(error).__name__}", code="connection_lost") from error
    # The status says it all. The rest is read so that a receiver that is still writing is not cut off; within limits.
    with suppress(OSError, http.client.HTTPException):
        while response.read(8192):
            pass
    return response.status


class _Timed:
    """A socket as `http.client` uses it, whose every wait ends at the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._sock.settimeout(self._deadline.left())
            rest = rest[self._sock.send(rest) :]

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - the signature of sockets
        return io.BufferedReader(_Answer(self._sock, self._deadline))

    def close(self) -> None:
        """Leave the socket to the one who has opened it."""


class _Answer(io.RawIOBase):
    """The bytes of an answer, headers included, up to the limit; there it breaks off."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._left = ANSWER_LIMIT_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise OSError("the answer is too long")
        self._sock.settimeout(self._deadline.left())
        count = self._sock.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count
