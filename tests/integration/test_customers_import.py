"""Importing customers into a real MongoDB: bulks, repeats, and what a later file changes."""

from pathlib import Path
from typing import Any

from pymongo.database import Database

from opportune.customers import BULK, import_customers


def test_rows_become_customers(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A user's document has site, user and attributes; broken rows are counted apart."""
    path = tmp_path / "c.csv"
    path.write_text("user_id,tier,age\nada,vip,36\nbob,,\nbroken\n")
    imported = import_customers(path, mongodb, "demo")
    assert (imported.accepted, [row.row for row in imported.rejected]) == (2, [4])
    assert list(mongodb.customers.find().sort("_id")) == [
        {"_id": "demo:ada", "site": "demo", "user": "ada", "attributes": {"tier": "vip", "age": 36}},
        {"_id": "demo:bob", "site": "demo", "user": "bob", "attributes": {}},
    ]


def test_a_later_file_changes_only_what_it_has(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Attributes are replaced one by one; of two rows of a user the later wins; other sites are apart."""
    first, second = tmp_path / "1.csv", tmp_path / "2.ndjson"
    first.write_text("user_id,tier,age\nada,vip,36\n")
    second.write_text('{"user_id": "ada", "age": 37}\n{"user_id": "ada", "age": 38, "city": "Turin"}\n')
    import_customers(first, mongodb, "demo")
    import_customers(first, mongodb, "other")
    for _ in range(2):
        import_customers(second, mongodb, "demo")
    attributes = {row["_id"]: row["attributes"] for row in mongodb.customers.find()}
    assert attributes == {
        "demo:ada": {"tier": "vip", "age": 38, "city": "Turin"},
        "other:ada": {"tier": "vip", "age": 36},
    }


def test_many_rows_go_in_bulks_with_progress(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Progress comes once per bulk, in bytes of the file, and ends at its size."""
    path = tmp_path / "c.csv"
    path.write_text("user_id,n\n" + "".join(f"u{n},{n}\n" for n in range(2 * BULK + 1)))
    seen: list[int] = []
    assert import_customers(path, mongodb, "demo", progress=seen.append).accepted == 2 * BULK + 1
    assert len(seen) == 3
    assert seen[-1] == path.stat().st_size
    assert mongodb.customers.count_documents({}) == 2 * BULK + 1
