"""A real mongod with access control and the roles from `docs/deploy.md`."""

import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from opportune.local import mongod
from opportune.local.environments import Function
from opportune.local.functions import FUNCTIONS
from opportune.system.ports import HOST, free_port
from opportune.system.subprocesses import Subprocesses
from shared.settings import EVERY_FUNCTION, GATEWAY
from tests.support.paths import ROOT

READY_S = 40.0
DEPLOY = ROOT / "docs" / "deploy.md"
ENTERING = tuple(function for function in EVERY_FUNCTION if function != GATEWAY)
MARKETER = "arn:aws:iam::123456789012:role/marketing"
Document = dict[str, Any]


def role_arn(function: str) -> str:
    """Return the ARN of a function's role, as the stack names it."""
    return f"arn:aws:iam::123456789012:role/opportune-{function.title()}FunctionRole-1A2B3C"


def with_settings(of: Callable[[str], Mapping[str, str]]) -> dict[str, Function]:
    """Return the functions of the local stack. Those that use MongoDB have additional variables."""
    own = {name: {**FUNCTIONS[name].env, **of(name)} for name in ENTERING}
    return {**FUNCTIONS, **{name: replace(FUNCTIONS[name], env=env) for name, env in own.items()}}


class SecuredMongod:
    """A replica set of one member with access control, and the roles and users of the document.

    ``admin`` has all rights. Users are named by their ARN, as in Atlas.
    """

    def __init__(self, subprocesses: Subprocesses) -> None:
        self.port = free_port()
        self._passwords = {"root": secrets.token_urlsafe(16)}
        self._start(subprocesses)
        self.admin: MongoClient[Document] = MongoClient(self.url("root"))
        for name, privileges in roles():
            self.admin.admin.command("createRole", name, privileges=privileges, roles=[])
        for function in ENTERING:
            self.create_user(role_arn(function), f"opportune{function.title()}")
        self.create_user(MARKETER, {"role": "readWrite", "db": "opportune"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.admin.close()

    def create_user(self, arn: str, role: Any) -> None:
        """Create the user *arn* with one role."""
        self._passwords[arn] = secrets.token_urlsafe(16)
        self.admin.admin.command("createUser", arn, pwd=self._passwords[arn], roles=[role])

    def password(self, arn: str) -> str | None:
        """Return the password of the user *arn*; ``None`` if there is no such user."""
        return self._passwords.get(arn)

    def url(self, user: str) -> str:
        """Return an address with the password of *user*."""
        name = f"{quote(user, safe='')}:{self._passwords[user]}"
        return f"mongodb://{name}@{HOST}:{self.port}/?directConnection=true&replicaSet={mongod.REPLICA_SET}"

    def _start(self, subprocesses: Subprocesses) -> None:
        data = subprocesses.run_dir / f"secured-{self.port}"
        data.mkdir()
        key = data / "members.key"  # a replica set with access control needs one
        key.write_text(secrets.token_hex(32))
        key.chmod(0o600)
        program = str(mongod.find_program(subprocesses.run_dir))
        where = ["--dbpath", str(data), "--port", str(self.port), "--bind_ip", HOST]
        options = ["--replSet", mongod.REPLICA_SET, "--keyFile", str(key), *mongod._OPTIONS]
        child = subprocesses.start("mongod with access control", [program, *where, *options], disposable=True)
        members = [{"_id": 0, "host": f"{HOST}:{self.port}"}]
        config = {"_id": mongod.REPLICA_SET, "members": members, "writeConcernMajorityJournalDefault": False}
        # Until the first user exists, mongod allows this from the same machine.
        with MongoClient[Document](HOST, self.port, directConnection=True, serverSelectionTimeoutMS=500) as client:
            child.wait_ready(lambda: _hello(client) is not None, READY_S)
            client.admin.command("replSetInitiate", config)
            child.wait_ready(lambda: bool((_hello(client) or {}).get("isWritablePrimary")), READY_S)
            deadline = time.monotonic() + READY_S
            while True:
                try:
                    client.admin.command("createUser", "root", pwd=self._passwords["root"], roles=["root"])
                except PyMongoError:
                    assert time.monotonic() < deadline
                else:
                    return


def _hello(client: MongoClient[Document]) -> Document | None:
    with suppress(PyMongoError):
        return dict(client.admin.command("hello"))
    return None


def roles() -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Yield the names of the document's custom roles, with their privileges in mongod's format."""
    text = DEPLOY.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^ *(atlas customDbRoles create .*)$", text, flags=re.MULTILINE):
        name, *rest = shlex.split(line)[3:]
        assert rest[::2] == ["--privilege"] * (len(rest) // 2), line
        yield name, [_privilege(each) for several in rest[1::2] for each in several.split(",")]


def _privilege(text: str) -> Mapping[str, Any]:
    """Return ``ACTION@database.collection`` in mongod's format."""
    action, _, where = text.partition("@")
    database, _, collection = where.partition(".")
    first, *others = action.lower().split("_")
    named = first + "".join(word.title() for word in others).replace("Db", "DB")
    return {"resource": {"db": database, "collection": collection}, "actions": [named]}
