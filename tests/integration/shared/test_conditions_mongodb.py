"""A condition's predicate and its MongoDB filter select the same documents."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from pymongo.database import Database

from shared.conditions.mongodb import compile_filter
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate

Data = dict[str, Any]
Mongo = Database[dict[str, Any]]

NOW = 1_700_000_000_000
TEXTS = ("", "a", "b", "ab", "aab", "A", "é", "a\n", "a.b", "[a]", "^a$", "2024-01-05", "2024-03-01")
NUMBERS = (0, 1, 1.0, 2, -1, 1.5, 10, 2**40)
PATTERNS = ("a", "^a", "b$", "^a+b?$", "(?i)A", r"\.", r"a\s", "[^a]", "^$", "(?m)a$", "é", r"\w+$", "a|b")
OPERATORS = (
    "", "eq", "ne", "gt", "gte", "lt", "lte", "in", "not_in", "contains", "starts_with", "ends_with",
    "exists", "between", "matches",
)  # fmt: skip
NAMES = ("x", "y", "o.x", "o.p.x", "l.x")


def random_value(rng: Random, depth: int = 0) -> Any:
    """Return any JSON value, most often text or a number."""
    roll = rng.random()
    if roll < 0.35:
        return rng.choice(TEXTS)
    if roll < 0.65:
        return rng.choice(NUMBERS)
    if roll < 0.75:
        return rng.choice((True, False))
    if roll < 0.8 or depth > 1:
        return None
    if roll < 0.9:
        return [random_value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {name: random_value(rng, depth + 1) for name in ("x", "p") if rng.random() < 0.7}


def random_document(rng: Random) -> Data:
    """Return attributes with values, objects, lists of objects, and missing ones."""
    attributes: Data = {name: random_value(rng) for name in ("x", "y", "o", "l") if rng.random() < 0.8}
    if rng.random() < 0.6:
        attributes["o"] = {"x": random_value(rng), "p": {"x": random_value(rng)}}
    if rng.random() < 0.3:
        attributes["l"] = [{"x": random_value(rng)} for _ in range(rng.randint(0, 2))]
    return attributes


def random_test(rng: Random) -> Any:
    """Return what an attribute maps to: a value, or an operator with an operand."""
    operator = rng.choice(OPERATORS)
    scalars: tuple[Any, ...] = (*TEXTS, *NUMBERS, True, False)
    ordered: tuple[Any, ...] = rng.choice((TEXTS, NUMBERS))
    texts = [text for text in TEXTS if text]
    operands: dict[str, Any] = {
        "in": [rng.choice(scalars) for _ in range(rng.randint(1, 4))],
        "contains": rng.choice([value for value in scalars if value != ""]),
        "starts_with": rng.choice(texts),
        "ends_with": rng.choice(texts),
        "exists": rng.random() < 0.5,
        "between": sorted(rng.choices(ordered, k=2)),
        "matches": rng.choice(PATTERNS),
    }
    operands["not_in"] = operands["in"]
    for order in ("gt", "gte", "lt", "lte"):
        operands[order] = rng.choice(ordered)
    value = rng.choice(scalars)
    return value if not operator else {operator: operands.get(operator, value)}


def random_condition(rng: Random, depth: int = 0) -> Data:
    """Return one to three comparisons, sometimes with a group of conditions."""
    condition: Data = {rng.choice(NAMES): random_test(rng) for _ in range(rng.choice((1, 1, 1, 2)))}
    if depth < 2 and rng.random() < 0.4:
        group = rng.choice(("any_of", "all_of", "none_of"))
        condition[group] = [random_condition(rng, depth + 1) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.7:
            return {group: condition[group]}
    return condition


def test_predicate_and_filter_agree(mongodb: Mongo) -> None:
    """Hundreds of random conditions select the same customers from hundreds of random ones."""
    rng = Random(20)
    documents: list[Data] = [{"_id": number, "attributes": random_document(rng)} for number in range(400)]
    mongodb.customers.insert_many(documents)
    picked = 0
    for _ in range(800):
        source = random_condition(rng)
        condition = parse_condition(source)
        holds = compile_predicate(condition)
        expected = {row["_id"] for row in documents if holds(row["attributes"])}
        found = {row["_id"] for row in mongodb.customers.find(compile_filter(condition, now_ms=NOW), {"_id": 1})}
        assert found == expected, (source, [documents[n] for n in sorted(found ^ expected)][:2])
        picked += 0 < len(found) < len(documents)
    assert picked > 500


def test_dates_compare_with_dates(mongodb: Mongo) -> None:
    """ISO-8601 and relative operands match stored dates; relative ones match nothing else."""
    now = datetime.fromtimestamp(NOW / 1000, UTC)
    seen: dict[str, Any] = {
        "today": now,
        "week": now - timedelta(days=7),
        "exactly 30": now - timedelta(days=30),
        "year": now - timedelta(days=365),
        "text": "2023-11-01",
        "number": NOW,
        "list": [now],
    }
    mongodb.customers.insert_many([{"_id": name, "attributes": {"at": at}} for name, at in seen.items()])

    def found(test: Any) -> set[str]:
        condition = parse_condition({"at": test}, dates=True)
        return {row["_id"] for row in mongodb.customers.find(compile_filter(condition, now_ms=NOW))}

    assert found({"gte": "-30d"}) == {"today", "week", "exactly 30"}
    assert found({"gt": "-30d"}) == {"today", "week"}
    assert found({"lt": "-24h"}) == {"week", "exactly 30", "year"}
    assert found({"between": ["-30d", "-7d"]}) == {"week", "exactly 30"}
    assert found({"between": ["2023-10-01", "-2d"]}) == {"week", "exactly 30"}
    assert found({"gte": "2023-10-30T00:00:00+01:00"}) == {"today", "week", "text"}
    assert found({"lt": "2023-01-01"}) == {"year"}
    assert found({"eq": now.isoformat().replace("+00:00", "Z")}) == {"today"}
    assert found({"ne": "2023-11-01"}) == {"today", "week", "exactly 30", "year"}
    assert found({"in": ["2023-11-01"]}) == {"text"}
