"""A stand-in for Atlas: a real mongod with access control, behind a proxy that authenticates with IAM.

    client ── MONGODB-AWS ──▶ Front: verify the signature ── SCRAM, as that user ──▶ mongod ── then relay bytes ──

MongoDB's community edition does not support MONGODB-AWS. The front does, and verifies the client's signature.
https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws
"""

import hashlib
import hmac
import os
import secrets
import socket
import struct
import threading
from base64 import b64decode, b64encode
from contextlib import suppress
from itertools import count
from typing import Any, Self

import bson
from bson import Binary

from opportune.system.ports import HOST
from tests.support import caller_identity
from tests.support.caller_identity import Sts, Unidentified
from tests.support.relay import hang_up, pass_on
from tests.support.secured_mongod import SecuredMongod

MESSAGE = 2013  # the opcode of all messages except a client's first
MORE = 1 << 1  # the flag of a response with more to come
BAD_AUTH = {"errmsg": "bad auth : Authentication failed.", "code": 8000, "codeName": "AtlasError"}

Document = dict[str, Any]


class Atlas:
    """The proxy in front of a *cluster*. It authenticates clients with IAM. Use it as a context manager.

    entered: the ARN of each authenticated connection.
    refused: the reasons of failed authentications.
    """

    def __init__(self, cluster: SecuredMongod, sts: Sts) -> None:
        self._cluster = cluster
        self._sts = sts
        self.entered: list[str] = []
        self.refused: list[str] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The cluster's address, for authentication with IAM."""
        return f"mongodb://{HOST}:{self.port}/?directConnection=true&authMechanism=MONGODB-AWS"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Close all connections."""
        for end in tuple(self._open):
            hang_up(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                outside, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(outside,), daemon=True).start()

    def _serve(self, outside: socket.socket) -> None:
        with suppress(OSError), outside, socket.create_connection((HOST, self._cluster.port)) as inside:
            self._open |= {outside, inside}
            for end in (outside, inside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while message := _receive(outside):
                if _document(message).get("mechanism") == "MONGODB-AWS":
                    if self._let_in(outside, inside, message):
                        pass_on(outside, inside)
                    break
                inside.sendall(message)
                while answer := _receive(inside):
                    outside.sendall(answer)
                    if not _flags(answer) & MORE:
                        break
            self._open -= {outside, inside}

    def _let_in(self, outside: socket.socket, inside: socket.socket, started: bytes) -> bool:
        """Answer the authentication that a client has *started*; return whether it succeeded."""
        theirs = bson.decode(_document(started)["payload"])["r"]
        nonce = theirs + os.urandom(32)
        challenge = Binary(bson.encode({"s": Binary(nonce), "h": caller_identity.HOST}))
        _answer(outside, started, {"ok": 1.0, "conversationId": 1, "done": False, "payload": challenge})
        continued = _await(outside)
        try:
            arn = self._sts.identify(bson.decode(_document(continued)["payload"]), nonce)
            password = self._cluster.password(arn)
            if password is None:
                raise Unidentified(f"{arn} is not a database user")
        except Unidentified as error:
            self.refused.append(str(error))
            _answer(outside, continued, {"ok": 0.0, **BAD_AUTH})
            return False
        _log_in(inside, arn, password)
        self.entered.append(arn)
        _answer(outside, continued, {"ok": 1.0, "conversationId": 1, "done": True, "payload": Binary(b"")})
        return True


def _log_in(server: socket.socket, user: str, password: str) -> None:
    """Authenticate a connection to mongod with SCRAM-SHA-256."""
    first = f"n={user},r={secrets.token_urlsafe(24)}"
    start = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "options": {"skipEmptyExchange": True}}
    said = _ask(server, {**start, "payload": Binary(f"n,,{first}".encode())})
    theirs = said["payload"].decode()
    values = dict(part.split("=", 1) for part in theirs.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(values["s"]), int(values["i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = f"c=biws,r={values['r']}"
    signature = hmac.digest(hashlib.sha256(key).digest(), f"{first},{theirs},{final}".encode(), "sha256")
    proof = b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    end = {"saslContinue": 1, "conversationId": said["conversationId"]}
    assert _ask(server, {**end, "payload": Binary(f"{final},p={proof}".encode())})["done"]


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────

_numbers = count(1)


def _ask(server: socket.socket, command: Document) -> Document:
    server.sendall(_message({**command, "$db": "admin"}))
    answer = _document(_await(server))
    assert answer["ok"] == 1, answer
    return answer


def _answer(client: socket.socket, asked: bytes, answer: Document) -> None:
    client.sendall(_message(answer, to=struct.unpack_from("<i", asked, 4)[0]))


def _message(document: Document, *, to: int = 0) -> bytes:
    body = struct.pack("<IB", 0, 0) + bson.encode(document)
    return struct.pack("<4i", 16 + len(body), next(_numbers), to, MESSAGE) + body


def _receive(end: socket.socket) -> bytes:
    """Return the next message; empty at the end of the connection."""
    head = _exactly(end, 16)
    return head + _exactly(end, struct.unpack_from("<i", head)[0] - 16) if head else b""


def _await(end: socket.socket) -> bytes:
    """Return the next message. Raises `ConnectionResetError` at the end of the connection."""
    if message := _receive(end):
        return message
    raise ConnectionResetError


def _exactly(end: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = end.recv(size - len(got))
        if not more:
            return b""
        got += more
    return got


def _kind(message: bytes) -> int:
    return int(struct.unpack_from("<i", message, 12)[0])


def _flags(message: bytes) -> int:
    return int(struct.unpack_from("<I", message, 16)[0]) if _kind(message) == MESSAGE else 0


def _document(message: bytes) -> Document:
    """Return the command of a message. Before authentication it has no other part."""
    return bson.decode(message[21 if _kind(message) == MESSAGE else message.index(b"\0", 20) + 9 :])
