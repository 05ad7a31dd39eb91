"""A Redis that a customer runs: it speaks TLS itself and has a user with a password."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

from opportune.system.ports import HOST, free_port
from opportune.system.subprocesses import Subprocesses
from tests.support.template_source import template_source
from tests.support.tls import certificate

READY_S = 15.0
USER = "opportune"
KEEPER = "keeper"  # the administrator, which the functions never use


@dataclass(frozen=True)
class NativeRedis:
    """A running server.

    ``pair``: the paths of its self-signed certificate and of the key.
    ``keeper``: a client with all rights.
    """

    port: int
    password: str
    pair: tuple[Path, Path]
    keeper: redis.Redis

    @property
    def url(self) -> str:
        """The URL as a secret holds it, with the password and the certificate."""
        return f"rediss://{USER}:{quote(self.password, safe='')}@{HOST}:{self.port}/0?ssl_ca_certs={self.pair[0]}"

    def set_password(self, password: str) -> None:
        """Accept only *password* from the user, and close the user's connections."""
        self._execute("ACL SETUSER", USER, "resetpass", f">{password}")
        self._execute("CLIENT KILL USER", USER)

    def show(self, certificate_path: Path, key_path: Path) -> None:
        """Present another certificate from now on, and close the user's connections."""
        self._execute("CONFIG SET", "tls-cert-file", str(certificate_path), "tls-key-file", str(key_path))
        self._execute("CLIENT KILL USER", USER)

    def users(self) -> set[str]:
        """Return the users of the connected clients, without the keeper."""
        return {client["user"] for client in self.keeper.client_list()} - {KEEPER}

    def _execute(self, *command: str) -> Any:
        return self.keeper.execute_command(*command)  # type: ignore[no-untyped-call]


def access() -> str:
    """Return the rights of the template's user of the state store, as an ACL string."""
    rules: str = template_source()["Resources"]["StateStoreUser"]["Properties"]["AccessString"]
    return rules.removeprefix("on ")


@contextmanager
def native_redis(server: Path, folder: Path, password: str) -> Iterator[NativeRedis]:
    """Run *server* in *folder*, with TLS only, a password for every user and the template's rights."""
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
