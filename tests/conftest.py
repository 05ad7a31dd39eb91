"""Real servers for tests of all kinds: each worker starts them once, and each test finds them empty."""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from redis import Redis

from opportune.local import aws as local_aws
from opportune.local import mongod, valkey
from opportune.system.subprocesses import Subprocesses
from shared.mongodb import TYPE_REGISTRY
from tests.support.paths import ROOT

pytest_plugins = [
    "tests.support.figures",
    "tests.support.schedule",
    "tests.support.skipped",
]

OLDEST_REDIS = 7
# Workers of pytest-xdist get a terminal size, and a Console that is created under one keeps it.
for _size in ("COLUMNS", "LINES"):
    os.environ.pop(_size, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make test-deep` uses."""
    parser.addoption("--pairs", type=int, help="number of random pairs of pattern and stream in the property tests")


@pytest.fixture(name="servers", scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subprocesses]:
    folder = tmp_path_factory.mktemp("servers")
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses:
        yield subprocesses


@pytest.fixture(scope="session")
def valkey_url(servers: Subprocesses) -> str:
    """Return the URL of this worker's Valkey."""
    return valkey.start(servers)


@pytest.fixture(scope="session")
def redis_server() -> Path:
    """Return the path of Redis, as Debian packages it. Skip the test if it is missing or too old."""
    found = shutil.which("redis-server")
    if not found:
        pytest.skip("Redis is not installed: apt-get install redis-server")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    major = re.search(r"\bv=(\d+)", version)
    if not major or int(major[1]) < OLDEST_REDIS:
        pytest.skip(f"expected Redis {OLDEST_REDIS}.0 or newer, got: {version.strip()}")
    return Path(found)


@pytest.fixture(scope="session")
def redis_url(servers: Subprocesses, redis_server: Path) -> str:
    """Return the URL of this worker's Redis."""
    return valkey.start(servers, server=redis_server)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests with the mark ``both_engines`` on Valkey and on Redis; without Redis, on Valkey only."""
    if "engine" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_engines"):
        metafunc.parametrize("engine", ["valkey", "redis"] if shutil.which("redis-server") else ["valkey"])


@pytest.fixture
def engine() -> str:
    """Return the engine of the state store for tests that do not run on both."""
    return "valkey"


@pytest.fixture
def redis_client(engine: str, request: pytest.FixtureRequest) -> Iterator[Redis]:
    """Return a client of an empty store: Valkey, or the engine that the test is run with."""
    with Redis.from_url(request.getfixturevalue(f"{engine}_url")) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def valkey_nodes(servers: Subprocesses) -> valkey.Cluster:
    """Return a Valkey cluster of three nodes."""
    return valkey.start_cluster(servers, 3)


@pytest.fixture(scope="session")
def redis_nodes(servers: Subprocesses, redis_server: Path) -> valkey.Cluster:
    """Return a Redis cluster of three nodes."""
    return valkey.start_cluster(servers, 3, server=redis_server)


@pytest.fixture
def cluster(engine: str, request: pytest.FixtureRequest) -> valkey.Cluster:
    """Return an empty cluster of Valkey, or of the engine that the test is run with."""
    nodes: valkey.Cluster = request.getfixturevalue(f"{engine}_nodes")
    for url in nodes.urls:
        with Redis.from_url(url) as node:
            node.flushall()
    return nodes


@pytest.fixture
def cluster_url(cluster: valkey.Cluster) -> str:
    """Return a URL at which a client finds all nodes of the empty cluster."""
    return cluster.url


@pytest.fixture(scope="session")
def mongodb_url(servers: Subprocesses) -> str:
    """Return the URL of this worker's MongoDB."""
    return mongod.start(servers)


@pytest.fixture(name="mongo_client", scope="session")
def _mongo_client(mongodb_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongodb_url, tz_aware=True, w="majority", type_registry=TYPE_REGISTRY) as client:
        yield client


@pytest.fixture
def mongodb(mongo_client: MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """Yield an empty database, and drop it after the test."""
    database = mongo_client[f"test_{uuid.uuid4().hex}"]
    yield database
    mongo_client.drop_database(database)


@dataclass(frozen=True)
class Aws:
    """The stand-in for the AWS APIs."""

    url: str

    def client(self, service: str) -> Any:
        """Return a client of *service* that has made-up credentials and never retries."""
        return local_aws.client(service, self.url)

    def reset(self) -> None:
        """Remove all resources and messages."""
        with urlopen(Request(f"{self.url}/moto-api/reset", method="POST"), timeout=10):
            pass


@pytest.fixture(name="aws_server", scope="session")
def _aws_server(servers: Subprocesses) -> Aws:
    return Aws(local_aws.start(servers))


@pytest.fixture
def aws(aws_server: Aws) -> Aws:
    """Return an empty stand-in for the AWS APIs."""
    aws_server.reset()
    return aws_server


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `make build` filled for this machine's processor, one folder per function.

    All workers of a run share one build: the first that needs it builds, and the others wait.
    """
    if subprocess.run(["make", "-s", "python3.13"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("Python 3.13 is not installed, and sam build needs it: see `make python3.13`")
    worker_folder = tmp_path_factory.getbasetemp()
    shared = worker_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else worker_folder
    artefacts, log = shared / "artefacts", shared / "build.log"
    with (shared / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
            command = ["make", "-s", "build", f"ARCHITECTURE={architecture}", f"BUILD_DIR={artefacts}"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            log.write_text(f"exit code {done.returncode}\n{done.stdout}{done.stderr}", encoding="utf-8")
    text = log.read_text(encoding="utf-8")
    assert text.startswith("exit code 0\n"), text
    return artefacts


@pytest.fixture(scope="session")
def built_console(built: Path) -> Path:
    """Return the folder with what the console needs to read and publish definitions."""
    return built.with_name(f"{built.name}-console")
