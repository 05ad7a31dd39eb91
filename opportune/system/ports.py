"""TCP ports on 127.0.0.1, chosen by the system."""

import errno
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that was free a moment ago; whoever uses it must retry when it no longer is."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def free_port_pair(distance: int, highest: int = 65535) -> int:
    """Return a port that was free together with the one *distance* above it."""
    for _ in range(200):
        port = free_port()
        if port + distance <= highest and is_free(port + distance):
            return port
    raise OSError(errno.EADDRINUSE, "no free pair of ports")


def is_free(port: int) -> bool:
    """Say whether *port* can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
