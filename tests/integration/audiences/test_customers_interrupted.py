"""Imports that are interrupted, fail, or run in parallel lose no customer and no opt-out."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from opportune.audiences.customers.importing import BULK, SAMPLE, import_customers
from opportune.audiences.customers.lines import Record
from opportune.audiences.customers.rows import Reject, Row, RowSource, open_rows
from shared.errors import Unavailable

USERS = SAMPLE + 5 * BULK
Customers = dict[str, dict[str, Any]]


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("customers") / "c.csv"
    rows = (f"u{n},{n},{n % 7 + 1:05d},2026-03-{n % 28 + 1:02d}\n" for n in range(USERS))
    path.write_text("user_id,n,zip,since\n" + "".join(rows))
    return path


def stored(database: Database[dict[str, Any]]) -> Customers:
    """Return the attributes of all customers by user."""
    return {row["user"]: row["attributes"] for row in database.customers.find()}


def whole(path: Path, database: Database[dict[str, Any]]) -> Customers:
    """Import all of *path* and return the stored customers."""
    with open_rows(path, "user_id") as rows:
        assert import_customers(rows, database, "demo", on_reject=print).accepted == USERS
    return stored(database)


@pytest.fixture(name="undisturbed", scope="module")
def _undisturbed(mongo_client: MongoClient[dict[str, Any]], path: Path) -> Customers:
    """Return the customers that an undisturbed import stores."""
    other = mongo_client["undisturbed"]
    try:
        return whole(path, other)
    finally:
        mongo_client.drop_database(other.name)


def test_an_interrupted_import_is_completed_by_the_next(
    mongodb: Database[dict[str, Any]], path: Path, undisturbed: Customers
) -> None:
    """After Ctrl-C, the written customers are correct. Repeating the import adds the others."""

    def interrupt(found: Iterator[Row | Reject]) -> Iterator[Row | Reject]:
        for number, row in enumerate(found):
            if number == SAMPLE + 2 * BULK:
                raise KeyboardInterrupt
            yield row

    with open_rows(path, "user_id") as rows, pytest.raises(KeyboardInterrupt):
        import_customers(rows._replace(rows=interrupt(rows.rows)), mongodb, "demo", on_reject=print)
    assert 0 < mongodb.customers.count_documents({}) < USERS
    assert stored(mongodb).items() <= undisturbed.items()
    assert whole(path, mongodb) == undisturbed


def test_a_killed_import_is_completed_by_the_next(
    mongodb: Database[dict[str, Any]], mongodb_url: str, path: Path, undisturbed: Customers
) -> None:
    """The same holds after kill -9 at any moment."""
    command = [sys.executable, "-m", "opportune", "customers", "import", str(path), "--site", "demo"]
    env = {"OPPORTUNE_MONGODB_URL": mongodb_url, "OPPORTUNE_MONGODB_DATABASE": mongodb.name, "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not mongodb.customers.find_one() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mongodb.customers.count_documents({}) > 0
    assert stored(mongodb).items() <= undisturbed.items()
    assert whole(path, mongodb) == undisturbed


def test_two_parallel_imports_equal_one(mongodb: Database[dict[str, Any]], path: Path, undisturbed: Customers) -> None:
    """Both upsert the same users and infer the same new types at the same time."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            whole(path, mongodb)
        except BaseException as error:  # noqa: BLE001 - the test reports any failure of the thread
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored(mongodb) == undisturbed


def test_a_customer_is_never_stored_before_the_opt_out(
    mongodb: Database[dict[str, Any]], mongo_client: MongoClient[dict[str, Any]]
) -> None:
    """The database refuses customers, as if it failed between the two writes. The opt-outs are already stored."""
    mongodb.create_collection("customers", validator={"site": "nobody's"})
    row = Row("eve", {"email": "eve@example.com"}, (Record("1", ""),), ("email",))
    with pytest.raises(Unavailable):
        import_customers(RowSource(iter([row]), lambda: 0, untyped=True), mongodb, "demo", on_reject=print)
    assert mongodb.customers.count_documents({}) == 0
    assert mongodb.optouts.count_documents({"_id": "demo:eve", "channels.email": {"$exists": True}}) == 1
