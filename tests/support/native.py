"""Redis as a company may have its own: TLS without anything in front of it, and a user with a password."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from ruamel.yaml import YAML

from opportune.system.ports import HOST, free_port
from opportune.system.subprocesses import Subprocesses
from tests.support.paths import ROOT
from tests.support.tls import certificate

READY_S = 15.0
USER = "opportune"
KEEPER = "keeper"  # who may do anything, and is none of ours


@dataclass(frozen=True)
class NativeRedis:
    """A running server. ``pair``: its certificate, which vouches for itself, and the key."""

    port: int
    password: str
    pair: tuple[Path, Path]
    keeper: redis.Redis

    @property
    def url(self) -> str:
        """The address as a secret holds it: with the password, and with what vouches for the server."""
        return f"rediss://{USER}:{quote(self.password, safe='')}@{HOST}:{self.port}/0?ssl_ca_certs={self.pair[0]}"

    def set_password(self, password: str) -> None:
        """Let the user in with *password* alone, and break off who is in."""
        self._execute("ACL SETUSER", USER, "resetpass", f">{password}")
        self._execute("CLIENT KILL USER", USER)

    def show(self, certificate_path: Path, key_path: Path) -> None:
        """Present another certificate from now on, and break off who has seen the last one."""
        self._execute("CONFIG SET", "tls-cert-file", str(certificate_path), "tls-key-file", str(key_path))
        self._execute("CLIENT KILL USER", USER)

    def users(self) -> set[str]:
        """Return as whom clients are connected, the keeper aside."""
        return {client["user"] for client in self.keeper.client_list()} - {KEEPER}

    def _execute(self, *command: str) -> Any:
        return self.keeper.execute_command(*command)  # type: ignore[no-untyped-call]


def access() -> str:
    """Return what the template's user of the state store may do."""
    template = YAML().load((ROOT / "template.yaml").read_text(encoding="utf-8"))
    rules: str = template["Resources"]["StateStoreUser"]["Properties"]["AccessString"]
    return rules.removeprefix("on ")


@contextmanager
def native_redis(server: Path, folder: Path, password: str) -> Iterator[NativeRedis]:
    """Run *server* in *folder*: no port without TLS, no user without a password, no right beyond the template's."""
    pair, port = certificate(folder), free_port()
    users = [
        "user default off",
        f"user {KEEPER} on >{password}-of-the-keeper ~* +@all",
        f"user {USER} on >{password} {access()}",
    ]
    (folder / "users.acl").write_text("\n".join(users) + "\n", encoding="utf-8")
    options = {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(pair[0]),
        "tls-key-file": str(pair[1]),
        "tls-ca-cert-file": str(pair[0]),
        "tls-auth-clients": "no",
        "bind": HOST,
        "dir": str(folder),
        "aclfile": str(folder / "users.acl"),
        "save": "",
    }
    keeper = redis.Redis(
        host=HOST,
        port=port,
        ssl=True,
        ssl_ca_certs=str(pair[0]),
        username=KEEPER,
        password=f"{password}-of-the-keeper",
    )
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses, keeper:
        command = [str(server), *(word for name, value in options.items() for word in (f"--{name}", value))]
        subprocesses.start("redis", command).wait_ready(lambda: _answers(keeper), READY_S)
        yield NativeRedis(port, password, pair, keeper)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
