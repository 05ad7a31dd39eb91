"""Valkey and mongod that can be killed, frozen and started again, on the same port."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymongo
import redis
from pymongo.errors import PyMongoError
from redis.backoff import NoBackoff
from redis.retry import Retry

from opportune.local import mongod, valkey
from opportune.system.ports import HOST, free_port
from opportune.system.subprocesses import Subprocess, Subprocesses

READY_S = 30.0


class Server:
    """A data store as a process of its own."""

    def __init__(self, subprocesses: Subprocesses, name: str) -> None:
        self.port = free_port()
        self.name = name
        self.folder = subprocesses.run_dir / f"{name}-{self.port}"
        self.folder.mkdir()
        self._subprocesses = subprocesses
        self._child: Subprocess | None = None

    @property
    def child(self) -> Subprocess:
        """The process."""
        assert self._child is not None
        return self._child

    def start(self, *options: str) -> None:
        """Start it with further *options*, and wait until it responds."""
        self._child = self._subprocesses.start(self.name, [*self.command(), *options], disposable=True)
        self._child.wait_ready(self.answers, READY_S)

    def kill(self) -> None:
        """Kill -9."""
        self.child.kill()

    def freeze(self) -> None:
        """Stop it; its connections stay."""
        os.kill(self.child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Thaw it."""
        if self.child.alive():
            os.kill(self.child.pid, signal.SIGCONT)

    def command(self) -> list[str]:
        """Return the command that starts it."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether it accepts requests."""
        raise NotImplementedError


class Valkey(Server):
    """Valkey without persistence: after a kill it is empty."""

    def __init__(self, subprocesses: Subprocesses) -> None:
        super().__init__(subprocesses, "valkey")
        self.url = f"redis://{HOST}:{self.port}/0"
        self.client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def command(self) -> list[str]:
        """Return the command that starts it."""
        options = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--save", ""]
        return [str(valkey.find_server()), *options, "--appendonly", "no"]

    def answers(self) -> bool:
        """Return whether it responds."""
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False


class Replica(Server):
    """A replica of *master*. It follows the master until `stop_following`."""

    def __init__(self, subprocesses: Subprocesses, master: Valkey) -> None:
        super().__init__(subprocesses, "valkey-replica")
        self._master = master
        self.client = redis.Redis(HOST, self.port, socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def command(self) -> list[str]:
        """Return the command that starts it."""
        options = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--save", ""]
        return [str(valkey.find_server()), *options, "--replicaof", HOST, str(self._master.port)]

    def answers(self) -> bool:
        """Return whether it has everything that the master has."""
        with suppress(redis.RedisError):
            master, own = self._master.client.info("replication"), self.client.info("replication")
            return bool(
                own.get("master_link_status") == "up" and own["slave_repl_offset"] >= master["master_repl_offset"]
            )
        return False

    def stop_following(self) -> None:
        """Keep what it has. The master goes on alone."""
        self.client.replicaof("NO", "ONE")

    def take_over(self) -> None:
        """Let the functions see what this replica has, at the address of the master: the tail is lost."""
        master = self._master.client
        master.replicaof(HOST, str(self.port))
        deadline = time.monotonic() + READY_S
        while not self._is_copied(master):
            assert time.monotonic() < deadline, "the master does not get the replica's data"
            time.sleep(0.02)
        master.replicaof("NO", "ONE")

    @staticmethod
    def _is_copied(master: redis.Redis) -> bool:
        with suppress(redis.RedisError):
            return bool(master.info("replication").get("master_link_status") == "up")
        return False


class Mongod(Server):
    """A replica set of one. Majority writes survive a kill, because they wait for the journal."""

    def __init__(self, subprocesses: Subprocesses) -> None:
        super().__init__(subprocesses, "mongod")
        self.url = f"mongodb://{HOST}:{self.port}/?replicaSet={mongod.REPLICA_SET}&directConnection=true"
        self._program = mongod.find_program(subprocesses.run_dir)

    def command(self) -> list[str]:
        """Return the command that starts it."""
        where = ["--dbpath", str(self.folder), "--port", str(self.port), "--bind_ip", HOST]
        return [str(self._program), *where, "--replSet", mongod.REPLICA_SET, *mongod._OPTIONS]

    def initiate(self) -> None:
        """Make a new one a replica set, and wait until it is primary."""
        config = {"_id": mongod.REPLICA_SET, "members": [{"_id": 0, "host": f"{HOST}:{self.port}"}]}
        with self._client() as client:
            client.admin.command("replSetInitiate", config)
        self.wait_primary()

    def wait_primary(self) -> None:
        """Wait until it accepts writes."""
        deadline = time.monotonic() + READY_S
        while not self._is_primary():
            assert time.monotonic() < deadline, self.child.last_lines()
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether it responds."""
        with suppress(PyMongoError), self._client() as client:
            return bool(client.admin.command("ping"))
        return False

    def _is_primary(self) -> bool:
        with suppress(PyMongoError), self._client() as client:
            return bool(client.admin.command("hello").get("isWritablePrimary"))
        return False

    def _client(self) -> "pymongo.MongoClient[dict[str, Any]]":
        return pymongo.MongoClient(HOST, self.port, directConnection=True, serverSelectionTimeoutMS=500)


def logs(folder: Path) -> str:
    """Return the logs of all processes in *folder*."""
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*.log")))
