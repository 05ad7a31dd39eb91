"""Webhook receivers: TLS servers on this machine that behave well or badly, and a certificate authority for them."""

import datetime as dt
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "hooks.partner.example"
LOCAL = "127.0.0.1"
DRIP_S = 0.05
HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Behave = Callable[[ssl.SSLSocket], None]


class Authority:
    """A certificate authority for the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        certificate = self._signed(self._name, self._key, [(constraints, True)])
        self.context = ssl.create_default_context(cadata=_pem(certificate).decode())

    def server_context(self, host: str) -> ssl.SSLContext:
        """Return the TLS context of a server with a certificate for *host*."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._signed(name, key, [(x509.SubjectAlternativeName([x509.DNSName(host)]), False)])
        path = self._folder / f"{host}.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(key.private_bytes(*form) + _pem(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[Any]) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - dt.timedelta(hours=1),
            not_valid_after=now + dt.timedelta(hours=1),
        )
        ours, theirs = self._key.public_key(), key.public_key()
        extensions = [
            *extensions,
            (x509.SubjectKeyIdentifier.from_public_key(theirs), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(ours), False),
        ]
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class Receiver:
    """A TLS server that keeps each request and then calls *behave*. *connections* counts all connections."""

    behave: Behave
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    connections: int = 0

    def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Serve one connection after another until the listener is closed."""
        context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with suppress(OSError), plain:
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as sock:
                    self.requests.append(read_request(sock))
                    self.behave(sock)


def read_request(sock: socket.socket) -> bytes:
    """Read one request, headers and body; raise `OSError` if the connection ends before the headers do."""
    data = b""
    while b"\r\n\r\n" not in data:
        received = sock.recv(65536)
        if not received:
            raise ConnectionResetError
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int(lengths[0]):
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def receiving(authority: Authority, behave: Behave, *, name: str = HOST) -> Iterator[Receiver]:
    """Run a receiver with a certificate for *name*."""
    with socket.create_server((LOCAL, 0)) as listener:
        receiver = Receiver(behave, listener.getsockname()[1])
        thread = threading.Thread(target=receiver.serve, args=(listener, authority.server_context(name)))
        thread.start()
        try:
            yield receiver
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # ends `accept`
            thread.join()


def answering(response: bytes) -> Behave:
    """Return the behaviour of a server that sends *response* immediately."""
    return lambda sock: sock.sendall(response)


def dripping(first: bytes) -> Behave:
    """Return the behaviour of a server that sends *first*, then one byte at a time without end."""

    def behave(sock: ssl.SSLSocket) -> None:
        sock.sendall(first)
        while True:
            sock.sendall(b"x")
            time.sleep(DRIP_S)

    return behave


def flooding(sock: ssl.SSLSocket) -> None:
    """Send an endless body as fast as possible."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n")
    while True:
        sock.sendall(b"x" * 65536)


def chunks(sock: ssl.SSLSocket) -> None:
    """Send endless chunks."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        sock.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def heads(sock: ssl.SSLSocket) -> None:
    """Send endless headers."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        sock.sendall(b"X: " + b"y" * 1000 + b"\r\n")


def continuing(sock: ssl.SSLSocket) -> None:
    """Send endless interim responses."""
    while True:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def silent(sock: ssl.SSLSocket) -> None:
    """Send nothing until the client gives up."""
    sock.recv(1)


def reset(sock: ssl.SSLSocket) -> None:
    """Reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
