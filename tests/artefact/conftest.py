"""The whole system on built functions, with stores like ElastiCache and Atlas, and the demo's definitions."""

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo.database import Database

from opportune.authoring import publishing
from opportune.demo.run import PUBLIC_KEY, SECRET_KEY_VARIABLE
from opportune.demo.scenario.customers import import_customers
from opportune.demo.scenario.play import play
from opportune.demo.stack_observer import StackObserver
from opportune.events.send import Busy, Endpoint
from opportune.local import valkey
from opportune.local.aws import ACCOUNT, REGION
from opportune.local.environments import Function, StartEnvironment
from opportune.local.functions import FUNCTIONS
from opportune.local.stack import Stack
from opportune.system.ports import HOST
from opportune.system.subprocesses import Subprocesses
from shared import mongodb
from tests.support.atlas import Atlas
from tests.support.caller_identity import Sts
from tests.support.emulator import Runtime, find_runtime
from tests.support.native import USER, access
from tests.support.paths import ROOT
from tests.support.secured_mongod import MARKETER, SecuredMongod, role_arn, with_settings
from tests.support.tls import TlsFront, certificate
from tests.support.whole_system import KEYS

READY_S = 20.0


@dataclass(frozen=True)
class Artefacts:
    """A running system of built functions, and clients for it."""

    stack: Stack
    database: Database[dict[str, Any]]
    browser: Endpoint
    server: Endpoint
    token: str


@pytest.fixture(scope="session")
def runtime(built: Path) -> Runtime:
    """Return the programs that run the built functions."""
    return find_runtime(built)


@pytest.fixture(name="elasticache", scope="package")
def _elasticache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a cluster of three nodes behind TLS that accepts only the template's user.

    The user has the rights in the template. It has no password here, because only ElastiCache can check the IAM tokens
    that take its place.
    """
    folder = tmp_path_factory.mktemp("elasticache")
    pair = certificate(folder)
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses, ExitStack() as open_:
        cluster = valkey.start_cluster(subprocesses, 3)
        nodes = [open_.enter_context(redis.Redis.from_url(url)) for url in cluster.urls]
        fronts = [TlsFront(int(url.rpartition(":")[2].partition("/")[0]), *pair) for url in cluster.urls]
        for node, front in zip(nodes, fronts, strict=True):
            open_.callback(front.stop)
            node.config_set("cluster-announce-port", front.port)
            node.execute_command("ACL SETUSER", USER, "reset", "on", "nopass", *access().split())
        url = f"rediss://{HOST}:{fronts[0].port}/0?ssl_ca_certs={pair[0]}"
        deadline = time.monotonic() + READY_S
        while not all(_known_ports(node) == {front.port for front in fronts} for node in nodes):
            assert time.monotonic() < deadline, "the nodes have not learned each other's TLS ports"
            time.sleep(0.1)
        for node in nodes:
            node.execute_command("ACL SETUSER", "default", "-@all", "+ping")
        yield url


def _known_ports(node: redis.Redis) -> set[int]:
    """Return the ports of the cluster's nodes, as *node* announces them."""
    slots: Any = node.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
    if isinstance(slots, dict):
        return {int(each["primary"][1]) for each in slots.values()}
    return {int(each[2][1]) for each in slots}


@dataclass(frozen=True)
class Cluster:
    """A running MongoDB.

    ``url``: for the database user of a marketer.
    ``functions``: the functions with their URLs and credentials.
    ``authenticated``: the roles that have authenticated.
    """

    url: str
    functions: Mapping[str, Function]
    authenticated: list[str]


@pytest.fixture(name="atlas", scope="package")
def _atlas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a cluster behind TLS. Functions authenticate with IAM, and each role has its rights in docs/deploy.md."""
    folder = tmp_path_factory.mktemp("atlas")
    pair, sts = certificate(folder), Sts()
    with (
        Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses,
        SecuredMongod(subprocesses) as mongod,
        Atlas(mongod, sts) as atlas,
    ):
        front = TlsFront(atlas.port, *pair)
        options = f"directConnection=true&authMechanism=MONGODB-AWS&tls=true&tlsCAFile={pair[0]}"
        url = {"OPPORTUNE_MONGODB_URL": f"mongodb://{HOST}:{front.port}/?{options}"}
        functions = with_settings(lambda name: {**url, **sts.issue(role_arn(name)).environment})
        yield Cluster(mongod.url(MARKETER), functions, atlas.entered)
        front.stop()


@pytest.fixture(scope="package")
def artefacts(
    runtime: Runtime, elasticache: str, atlas: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Artefacts]:
    """Yield the system on built functions, with TLS and IAM to both stores, and a cluster as the state store."""
    arn = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:serverlesscache:opportune"
    extra = {"OPPORTUNE_REDIS_CLUSTER": "true", "OPPORTUNE_REDIS_CACHE_ARN": arn, "OPPORTUNE_REDIS_USER": USER}
    folder = tmp_path_factory.mktemp("artefacts")
    stores = {"redis_url": elasticache, "mongodb_url": atlas.url}
    with running(folder, runtime.start, functions=atlas.functions, extra_env=extra, **stores) as system:
        yield system


def failed_cases(system: Artefacts) -> list[tuple[str, str]]:
    """Play the demo scenario; return title and outcome of the cases that failed."""
    observer = StackObserver(system.stack, system.database)
    results = play(system.browser, system.server, observer, system.token)
    return [(result.title, result.actual) for result in results if not result.passed]


@contextmanager
def running(
    folder: Path, environments: StartEnvironment, *, functions: Mapping[str, Function] = FUNCTIONS, **options: Any
) -> Iterator[Artefacts]:
    """Run the system on *environments*; *options* go to the stack."""
    # Lambda cannot write compiled modules, so a start here must not leave them for the next one.
    extra = {"PYTHONDONTWRITEBYTECODE": "1", **options.pop("extra_env", {})}
    token = secrets.token_hex(2)
    with (
        Stack(
            state_dir=folder / ".opportune",
            keys=KEYS,
            ses_identities=("casino.example",),
            environments=environments,
            functions=functions,
            extra_env=extra,
            **options,
        ) as stack,
        closing(mongodb.database(stack.mongodb_url, "opportune").client) as client,
    ):
        database = client.opportune
        import_customers(database, token)
        publishing.publish_folder(database, ROOT / "campaigns" / "demo", KEYS)
        publishing.refresh_targets(database, "demo")
        browser = Endpoint(stack.http_url, PUBLIC_KEY)
        _start(browser)
        yield Artefacts(stack, database, browser, Endpoint(stack.http_url, KEYS[SECRET_KEY_VARIABLE]), token)


def _start(browser: Endpoint) -> None:
    """Retry a first event until it is accepted, as trackers do: on a busy machine the functions start slowly."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            browser.post("/v1/track", {"userId": "first", "event": "game_result", "messageId": "first"})
        except Busy:
            assert time.monotonic() < deadline
        else:
            return
