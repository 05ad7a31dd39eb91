"""Relay bytes between two sockets, for proxies in front of a store."""

import socket
import threading
from contextlib import suppress


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Relay bytes in both directions until one end closes; then close both."""
    back = threading.Thread(target=_pass_on, args=(other, one), daemon=True)
    back.start()
    _pass_on(one, other)
    back.join()


def hang_up(end: socket.socket) -> None:
    """Close a connection, even if a thread is waiting for it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    hang_up(source)
    hang_up(target)
