"""Bytes passed on between two sockets, for what stands in front of a store."""

import socket
import threading
from contextlib import suppress


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Pass on what either end says, until one hangs up; then both are hung up."""
    back = threading.Thread(target=_pass_on, args=(other, one), daemon=True)
    back.start()
    _pass_on(one, other)
    back.join()


def hang_up(end: socket.socket) -> None:
    """Break off a connection, whoever waits for it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    hang_up(source)
    hang_up(target)
