"""Measure a refresh of targets beside the obvious solution: one `$merge` pipeline per group."""

import statistics
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

import msgspec
from pymongo.database import Database

from opportune.dev.figures import Figure, time_seconds
from opportune.local import mongod
from opportune.system.subprocesses import Subprocesses
from refresher.plan import ALL
from refresher.refresh import RefreshOptions, refresh
from shared import mongodb
from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.mongodb import Document, targets_collection
from shared.ruleset import Campaign, Ruleset, TargetGroup, Trigger
from shared.targets import ONLY_USERS

SITE = "bench"
NOW = datetime(2026, 11, 25, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
CAMPAIGNS = 20
ROUNDS = 3
ONE_ROUND_FROM = 500_000  # customers; the floor takes minutes
MEMORY_SHARE = 10  # memory is compared with that of a tenth of the customers
RULES: dict[str, dict[str, Any]] = {
    "vip": {"tier": "vip"},
    "gold": {"tier": {"in": ["vip", "gold"]}},
    "rich": {"lifetime_value": {"gte": 1000}},
    "recent": {"last_login": {"gte": "-30d"}},
    "alpine": {"country": {"in": ["AT", "CH"]}},
    "young": {"age": {"lt": 30}},
    "poker": {"favourite.game": "poker"},
    "newsletter": {"newsletter": True},
    "often": {"visits": {"gte": 400}},
    "sevens": {"email": {"ends_with": "7@mail.example"}},
}
CYCLES: dict[str, list[Any]] = {  # lengths without a common factor, so that every combination occurs
    "tier": ["vip", "gold", "silver", "basic", "basic"],
    "country": ["AT", "DE", "CH", "US", "GB", "FR", "IT"],
    "age": [*range(18, 89, 5), 90, 91],
    "lifetime_value": [n * 113 % 1300 + 0.5 for n in range(13)],
    "last_login": [NOW - timedelta(days=n * 7) for n in range(19)],
    "newsletter": [True, False, False],
    "visits": [n * 22 for n in range(23)],
    "favourite": [{"game": game, "stake": 5} for game in ("poker", "slots", "roulette", "bingo")],
}


def measure(subprocesses: Subprocesses, customers: int) -> list[Figure]:
    """Refresh the targets of *customers* customers with 20 campaigns and 10 groups, in turn with the floor."""
    database = mongodb.database(mongod.start(subprocesses), "bench", answer_ms=3_600_000)
    _publish(database)
    memory = []
    for number in (customers // MEMORY_SHARE, customers):
        _load(database, number)
        memory.append(_peak_mb(lambda: _refresh(database)))
    ours, floor = [], []
    for _ in range(ROUNDS if customers < ONE_ROUND_FROM else 1):
        ours.append(time_seconds(lambda: _refresh(database)))
        floor.append(time_seconds(lambda: _merge_per_group(database)))
    _check_results(database)
    database.client.close()
    name = f"targets of {customers:,} customers"
    return [
        Figure(name, statistics.median(ours), "one $merge per group", statistics.median(floor), "s"),
        Figure("its memory in Python", memory[1], f"of {customers // MEMORY_SHARE:,} customers", memory[0], "MB"),
    ]


def _publish(database: Database[Document]) -> None:
    names = cycle(RULES)
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    campaigns = [
        Campaign(f"c{n}", "1", f"C{n}", trigger, "popup", {}, groups=[next(names), next(names)])
        for n in range(CAMPAIGNS)
    ]
    groups = [TargetGroup(name, rule=rule) for name, rule in RULES.items()]
    parts = {"ruleset": Ruleset(SITE, 1, [], campaigns), "groups": groups}
    database.rulesets.insert_one({"_id": f"{SITE}:1", "site": SITE, **msgspec.to_builtins(parts)})
    database.control.insert_one({"_id": SITE, "ruleset": 1, "generation": 0})


def _load(database: Database[Document], number: int) -> None:
    database.customers.drop()
    database.customers.create_index([("site", 1), ("user", 1)])
    customers = _customers(number)
    while batch := list(islice(customers, 5000)):
        database.customers.insert_many(batch, ordered=False)


def _customers(number: int) -> Iterator[Document]:
    values = {name: cycle(each) for name, each in CYCLES.items()}
    for n in range(number):
        attributes = {"first_name": f"Name {n % 999}", "email": f"u{n}@mail.example"}
        attributes |= {name: next(each) for name, each in values.items()}
        yield {"_id": f"{SITE}:u{n:08}", "site": SITE, "user": f"u{n:08}", "attributes": attributes}


def _refresh(database: Database[Document]) -> None:
    refresh(database, SITE, [ALL], RefreshOptions("bench", lambda: NOW_MS))


def _merge_per_group(database: Database[Document]) -> None:
    """Write the same rows with one pipeline per group, each merged into the earlier rows. This is the floor."""
    database.floor.drop()
    both = {"$setUnion": ["$groups", "$$new.groups"]}
    for name, rule in RULES.items():
        condition = parse_condition(rule, field="rule")
        matching = compile_filter(condition, prefix="attributes.", now_ms=NOW_MS)
        database.customers.aggregate(
            [
                {"$match": {"$and": [{"site": SITE}, matching]}},
                {"$project": {"_id": "$user", "groups": [name]}},
                {"$merge": {"into": "floor", "whenMatched": [{"$set": {"groups": both}}]}},
            ],
            allowDiskUse=True,
        )


def _check_results(database: Database[Document]) -> None:
    """Check that both have the same result, because a wrong result is easily fast."""
    generation = mongodb.read_pointers(database)[SITE].generation
    by_groups: list[Document] = [
        {"$match": ONLY_USERS},
        {"$group": {"_id": {"$sortArray": {"input": "$groups", "sortBy": 1}}, "users": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    ours = list(database[targets_collection(SITE, generation)].aggregate(by_groups))
    if ours != list(database.floor.aggregate(by_groups)):
        raise AssertionError("the refresh and the floor have different results")


def _peak_mb(work: Callable[[], None]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
