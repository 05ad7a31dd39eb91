"""A proxy that forgets: it drops idle connections without notice.

Load balancers and NAT gateways do that, and so does a server while a Lambda function is frozen. The next sender gets a
reset, and the bytes do not arrive.
"""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

from opportune.system.ports import HOST

AT_ONCE = struct.pack("ii", 1, 0)  # a close that resets


class Forgetful:
    """A proxy to a server on *port* of this machine; a context manager. ``made``: the number of connections."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._open: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.made = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for each in list(self._open):
            each.close()

    def forget(self) -> None:
        """Drop all open connections; the peers notice when they send something."""
        self._forgotten |= self._open

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.made += 1
                self._open.add(client)
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with suppress(OSError), socket.create_connection((HOST, self._server)) as server:
            threading.Thread(target=self._back, args=(server, client), daemon=True).start()
            while data := client.recv(65536):
                if client in self._forgotten:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    break
                server.sendall(data)
        self._open.discard(client)
        client.close()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
