"""Find free TCP ports on 127.0.0.1."""

import errno
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a free port. Another process may take it before you do, so retry if it is in use."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def free_port_pair(distance: int, highest: int = 65535) -> int:
    """Return a free port of which the port *distance* above is free too."""
    for _ in range(200):
        port = free_port()
        if port + distance <= highest and is_free(port + distance):
            return port
    raise OSError(errno.EADDRINUSE, "no free pair of ports")


def is_free(port: int) -> bool:
    """Return whether a server can listen on *port*."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
