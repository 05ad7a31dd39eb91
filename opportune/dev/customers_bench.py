"""Measure the import of customers beside a bare write of the same documents."""

import statistics
from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec
from pymongo import UpdateOne
from pymongo.database import Database

from opportune.audiences.customers.importing import BULK, import_customers
from opportune.audiences.customers.pinpoint.export import open_export
from opportune.audiences.customers.rows import open_rows
from opportune.dev.figures import Figure, time_seconds
from opportune.local import mongod
from opportune.system.subprocesses import Subprocesses
from shared import mongodb
from shared.mongodb import Document

ROUNDS = 3
TIERS = ("vip", "basic", "basic", "basic")


def measure(subprocesses: Subprocesses, folder: Path, rows: int) -> list[Figure]:
    """Import *rows* customers with seven attributes, and twice as many Pinpoint endpoints, in turn with the floor."""
    database = mongodb.database(mongod.start(subprocesses), "bench")
    players, export = folder / "players.csv", folder / "export.json"
    _write_files(players, export, rows)
    times: dict[str, list[float]] = {"new": [], "floor": [], "again": [], "floor again": [], "export": []}
    for _ in range(ROUNDS):
        database.client.drop_database(database)
        times["new"].append(time_seconds(lambda: _import(players, database)))
        documents = list(database.customers.find())
        times["again"].append(time_seconds(lambda: _import(players, database)))
        for name in ("floor", "floor again"):
            times[name].append(time_seconds(partial(_write_bare, documents, database)))
        database.customers.drop()
        times["export"].append(time_seconds(lambda: _import_export(export, database)))
    database.client.close()
    median = {name: statistics.median(each) / rows * 1e6 for name, each in times.items()}
    return [
        Figure("customers import, new", median["new"], "bare bulk_write", median["floor"], "µs/row"),
        Figure("customers import, again", median["again"], "bare bulk_write", median["floor again"], "µs/row"),
        Figure("Pinpoint import, 2 endpoints", median["export"], "bare bulk_write", median["floor"], "µs/row"),
    ]


def _import(path: Path, database: Database[Document]) -> None:
    with open_rows(path, "user_id") as rows:
        import_customers(rows, database, "bench", on_reject=_raise)


def _import_export(path: Path, database: Database[Document]) -> None:
    with open_export(path, endpoint_ids=False, progress=lambda _: None) as rows:
        import_customers(rows, database, "bench", on_reject=_raise)


def _raise(reject: object) -> None:
    raise AssertionError(reject)


def _write_bare(documents: Iterable[Document], database: Database[Document]) -> None:
    """Write *documents* from memory to another collection. This is the floor."""
    into = database.floor
    into.create_index("site")
    remaining = iter(documents)
    while bulk := list(islice(remaining, BULK)):
        into.bulk_write([_upsert(each) for each in bulk], ordered=False)


def _upsert(document: Document) -> UpdateOne:
    changes = {f"attributes.{name}": value for name, value in document["attributes"].items()}
    if_new = {"site": document["site"], "user": document["user"]}
    return UpdateOne({"_id": document["_id"]}, {"$set": changes, "$setOnInsert": if_new}, upsert=True)


def _write_files(players: Path, export: Path, rows: int) -> None:
    with players.open("w") as csv, export.open("wb") as endpoints:
        csv.write("user_id,first_name,email,tier,lifetime_value,last_login,visits,newsletter\n")
        for n in range(rows):
            tier, newsletter = TIERS[n % len(TIERS)], ("true", "false")[n % 2]
            date = f"2026-03-{n % 28 + 1:02d}T10:00:00Z"
            csv.write(f"u{n},Name {n % 999},u{n}@mail.example,{tier},{n * 1.5},{date},{n % 50},{newsletter}\n")
            user = {"UserId": f"u{n}", "UserAttributes": {"first_name": [f"Name {n % 999}"], "tier": [tier]}}
            for channel, address in (("EMAIL", f"u{n}@mail.example"), ("SMS", f"+4366{n:09d}")):
                endpoint = {"ChannelType": channel, "Address": address, "EffectiveDate": date, "User": user}
                endpoints.write(msgspec.json.encode(endpoint | {"Metrics": {"visits": n % 50}}) + b"\n")
