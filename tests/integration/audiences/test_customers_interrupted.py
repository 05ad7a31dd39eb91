"""Imports that are interrupted, fail, or run at the same time: nothing is lost, and nobody is written to wrongly."""

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


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "c.csv"
    rows = (f"u{n},{n},{n % 7 + 1:05d},2026-03-{n % 28 + 1:02d}\n" for n in range(USERS))
    path.write_text("user_id,n,zip,since\n" + "".join(rows))
    return path


def stored(database: Database[dict[str, Any]]) -> Customers:
    """Return all customers."""
    return {row["user"]: row["attributes"] for row in database.customers.find()}


def whole(path: Path, database: Database[dict[str, Any]]) -> Customers:
    """Import all of *path*, and return what is stored then."""
    with open_rows(path, "user_id") as rows:
        assert import_customers(rows, database, "demo", on_reject=print).accepted == USERS
    return stored(database)


def expected(mongodb: Database[dict[str, Any]], path: Path) -> Customers:
    """Return what an import that nothing disturbs stores."""
    other = mongodb.client[f"{mongodb.name}_undisturbed"]
    try:
        return whole(path, other)
    finally:
        mongodb.client.drop_database(other.name)


def test_an_import_that_breaks_off_is_finished_by_the_next(mongodb: Database[dict[str, Any]], path: Path) -> None:
    """Somebody presses Ctrl-C in the middle: what was written stays and is right, the repetition brings the rest."""

    def broken_off(found: Iterator[Row | Reject]) -> Iterator[Row | Reject]:
        for number, row in enumerate(found):
            if number == SAMPLE + 2 * BULK:
                raise KeyboardInterrupt
            yield row

    with open_rows(path, "user_id") as rows, pytest.raises(KeyboardInterrupt):
        import_customers(rows._replace(rows=broken_off(rows.rows)), mongodb, "demo", on_reject=print)
    assert 0 < mongodb.customers.count_documents({}) < USERS
    undisturbed = expected(mongodb, path)
    assert stored(mongodb).items() <= undisturbed.items()
    assert whole(path, mongodb) == undisturbed


def test_a_killed_import_is_finished_by_the_next(
    mongodb: Database[dict[str, Any]], mongodb_url: str, path: Path
) -> None:
    """As the first, with kill -9, at whatever moment that is."""
    command = [sys.executable, "-m", "opportune", "customers", "import", str(path), "--site", "demo"]
    env = {"OPPORTUNE_MONGODB_URL": mongodb_url, "OPPORTUNE_MONGODB_DATABASE": mongodb.name, "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not mongodb.customers.find_one() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert mongodb.customers.count_documents({}) > 0
    undisturbed = expected(mongodb, path)
    assert stored(mongodb).items() <= undisturbed.items()
    assert whole(path, mongodb) == undisturbed


def test_two_imports_at_once_are_as_one(mongodb: Database[dict[str, Any]], path: Path) -> None:
    """Both upsert the same users, and both find out the same new types, in the same moments."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            whole(path, mongodb)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored(mongodb) == expected(mongodb, path)


def test_nobody_who_opted_out_is_there_without_it(
    mongodb: Database[dict[str, Any]], mongo_client: MongoClient[dict[str, Any]]
) -> None:
    """The database takes no customers, as where it dies between the two writes: the opt-outs are there before.

    opt-outs written ─▶ dies ─▶ repeated          never: an address, and no opt-out yet
    """
    mongodb.create_collection("customers", validator={"site": "nobody's"})
    row = Row("eve", {"email": "eve@example.com"}, (Record("1", ""),), ("email",))
    with pytest.raises(Unavailable):
        import_customers(RowSource(iter([row]), lambda: 0, untyped=True), mongodb, "demo", on_reject=print)
    assert mongodb.customers.count_documents({}) == 0
    assert mongodb.optouts.count_documents({"_id": "demo:eve", "channels.email": {"$exists": True}}) == 1
