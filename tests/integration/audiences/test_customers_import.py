"""Importing customers into a real MongoDB: bulks, types, repeated imports and later files."""

import json
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from definitions.publishing.publish import roll_back
from opportune.audiences.customers import attributes
from opportune.audiences.customers.attributes import AttributeTypes
from opportune.audiences.customers.importing import BULK, SAMPLE, ImportResult, import_customers
from opportune.audiences.customers.lines import InvalidRecord
from opportune.audiences.customers.rows import Reject, Row, open_rows
from shared.optouts import OptOuts
from tests.support.definitions import define, publish
from tests.support.opt_outs import has_opted_out


def imported(
    path: Path, mongodb: Database[dict[str, Any]], site: str, rejects: list[Reject] | None = None
) -> ImportResult:
    """Import a file and return the result."""
    with open_rows(path, "user_id") as rows:
        return import_customers(rows, mongodb, site, on_reject=(rejects if rejects is not None else []).append)


def test_rows_become_customers(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A customer has a site, a user and attributes. Invalid rows are passed on with their place."""
    path = tmp_path / "c.csv"
    path.write_text("user_id,tier,age\nada,vip,36\nbob,,\nbroken\n")
    rejects: list[Reject] = []
    done = imported(path, mongodb, "demo", rejects)
    assert (done.accepted, done.new, done.changed, done.rejected) == (2, 2, 0, 1)
    assert [(reject.records[0].place, reject.records[0].text) for reject in rejects] == [("4", "broken")]
    assert list(mongodb.customers.find().sort("_id")) == [
        {"_id": "demo:ada", "site": "demo", "user": "ada", "attributes": {"tier": "vip", "age": 36}},
        {"_id": "demo:bob", "site": "demo", "user": "bob", "attributes": {}},
    ]


def test_a_later_file_changes_only_what_it_has(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Attributes are replaced one by one. The last row of a user wins. Other sites are not affected."""
    first, second = tmp_path / "1.csv", tmp_path / "2.ndjson"
    first.write_text("user_id,tier,age\nada,vip,36\n")
    second.write_text('{"user_id": "ada", "age": 37}\n{"user_id": "ada", "age": 38, "city": "Turin"}\n')
    imported(first, mongodb, "demo")
    imported(first, mongodb, "other")
    assert imported(second, mongodb, "demo").changed == 1
    assert imported(second, mongodb, "demo").changed == 0
    found = {row["_id"]: row["attributes"] for row in mongodb.customers.find()}
    assert found == {
        "demo:ada": {"tier": "vip", "age": 38, "city": "Turin"},
        "other:ada": {"tier": "vip", "age": 36},
    }


def test_many_rows_go_in_bulks_with_progress(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Progress is reported after each bulk, in bytes, and ends at the size of the file."""
    path = tmp_path / "c.csv"
    users = SAMPLE + 2 * BULK + 1
    path.write_text("user_id,n\n" + "".join(f"u{n},{n}\n" for n in range(users)))
    seen: list[int] = []
    rejects: list[Reject] = []
    with open_rows(path, "user_id") as rows:
        done = import_customers(rows, mongodb, "demo", on_reject=rejects.append, progress=seen.append)
    assert (done.accepted, rejects) == (users, [])
    assert len(seen) == users // BULK + 1
    assert seen[-1] == path.stat().st_size
    assert mongodb.customers.count_documents({}) == users


def test_an_import_needs_no_more_memory_for_more_rows(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """With four times as many rows, half of them rejected, the peak grows by less than 10 %."""
    peaks = []
    for users in (SAMPLE + 5 * BULK, 4 * (SAMPLE + 5 * BULK)):
        path = tmp_path / "c.csv"
        path.write_text("user_id,n\n" + "".join(f"u{n},{n}{',' * (n % 2)}\n" for n in range(users)))
        tracemalloc.start()
        with open_rows(path, "user_id") as rows:
            done = import_customers(rows, mongodb, "demo", on_reject=lambda _: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert done.rejected == users // 2
    assert peaks[1] < 1.1 * peaks[0]


def test_the_first_import_decides_the_types(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """In later files, a value of another type is rejected, and text that reads like the type is converted."""
    first, second = tmp_path / "1.csv", tmp_path / "2.ndjson"
    first.write_text("user_id,zip,age,since\nada,1010,36,2026-03-01\nbob,0100,40,\n")
    assert imported(first, mongodb, "demo").learned == {"zip": "text", "age": "number", "since": "date"}
    rows: dict[str, dict[str, Any]] = {
        "cy": {"zip": "8010", "age": "41", "since": "2026-03-02T10:00:00Z", "vip": True},
        "di": {"zip": 8010},
        "ed": {"age": "forty"},
        "fi": {"since": "soon", "age": "old"},
    }
    second.write_text("\n".join(json.dumps({"user_id": user, **row}) for user, row in rows.items()))
    rejects: list[Reject] = []
    done = imported(second, mongodb, "demo", rejects)
    assert done.learned == {"vip": "boolean"}
    assert [(reject.records[0].place, reject.reason) for reject in rejects] == [
        ("2", "zip: expected text, got a number: 8010"),
        ("3", "age: expected a number, got 'forty'"),
        (
            "4",
            (
                "since: expected a date such as 2026-11-25 or 2026-11-25T10:00:00Z, got 'soon'; "
                "age: expected a number, got 'old'"
            ),
        ),
    ]
    row = mongodb.customers.find_one({"_id": "demo:cy"}, {"attributes": 1})
    assert row is not None
    at = datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert row["attributes"] == {"zip": "8010", "age": 41, "since": at, "vip": True}
    assert AttributeTypes(mongodb, "other").get("zip") is None


def declare(mongodb: Database[dict[str, Any]], types: dict[str, Any]) -> None:
    """Publish a site that declares *types*."""
    site = {"id": "demo", "name": "Demo", "keys": [{"kind": "public", "key": "wk_public"}]}
    publish(mongodb, define({"site": {**site, "customer_attributes": types}}), [])


def test_declared_types_take_precedence(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A declared type is not inferred, and replaces a type that was inferred before."""
    path = tmp_path / "c.csv"
    path.write_text("user_id,code,age\nada,12,36\n")
    declare(mongodb, {"code": "text"})
    assert imported(path, mongodb, "demo").learned == {"age": "number"}
    declare(mongodb, {"code": "text", "age": {"type": "text"}})
    imported(path, mongodb, "demo")
    row = mongodb.customers.find_one({})
    assert row is not None
    assert row["attributes"] == {"code": "12", "age": "36"}


def test_the_live_version_declares_types(mongodb: Database[dict[str, Any]]) -> None:
    """A publish and a rollback store the declared types. Publishing again restores missing ones."""

    def types() -> dict[str, str]:
        return {row["_id"]: row["type"] for row in mongodb.customer_attributes.find()}

    AttributeTypes(mongodb, "demo").learn([Row("a", {"code": "1", "n": "1"}, ())], untyped=True)
    declare(mongodb, {"code": "text", "home.city": "text"})
    assert types() == {"demo:code": "text", "demo:n": "number"}
    declare(mongodb, {"code": "date"})
    roll_back(mongodb, "demo")
    assert types() == {"demo:code": "text", "demo:n": "number"}
    mongodb.customer_attributes.delete_many({})
    declare(mongodb, {"code": "text", "home.city": "text"})
    assert types() == {"demo:code": "text"}


def test_of_two_first_imports_one_decides_a_type(mongodb: Database[dict[str, Any]]) -> None:
    """Both read the types before either writes. The second to write adopts the type of the first."""
    one, two = AttributeTypes(mongodb, "demo"), AttributeTypes(mongodb, "demo")
    one.learn([Row("a", {"n": "1"}, ())], untyped=True)
    two.learn([Row("b", {"n": "x"}, ())], untyped=True)
    assert (one.get("n"), two.get("n"), two.learned) == ("number", "number", {"n": "number"})


def test_the_number_of_attributes_is_limited(mongodb: Database[dict[str, Any]]) -> None:
    """A file with a new attribute in every row must not fill the database with types."""
    types = AttributeTypes(mongodb, "demo")
    row = Row("a", {f"n{n}": "1" for n in range(attributes.MAX_ATTRIBUTES + 1)}, ())
    for _ in range(2):
        types.learn([row], untyped=True)
    assert mongodb.customer_attributes.count_documents({}) == attributes.MAX_ATTRIBUTES
    with pytest.raises(InvalidRecord, match="already has 1000 attributes"):
        types.convert(row)


def test_bulk_opt_outs_equal_single_ones(mongodb: Database[dict[str, Any]]) -> None:
    """The first reason and other channels stay. Only users with new opt-outs are counted."""
    opt_outs = OptOuts(mongodb.optouts, lambda: 5000)
    opt_outs.add("demo", "ada", "email", "unsubscribed")
    assert opt_outs.add_all("demo", {"ada": ["email", "sms"], "$bob": ["push"]}, "imported") == 2
    assert opt_outs.add_all("demo", {"ada": ["sms"], "$bob": ["push"]}, "again") == 0
    assert opt_outs.add_all("demo", {}, "again") == 0
    rows = {
        row["user"]: {name: each["reason"] for name, each in row["channels"].items()} for row in mongodb.optouts.find()
    }
    assert rows == {"ada": {"email": "unsubscribed", "sms": "imported"}, "$bob": {"push": "imported"}}
    assert has_opted_out(mongodb, "demo", "$bob", "push")


@pytest.mark.parametrize("deep", [34, 176, 180, 250, 400, 5000])
def test_a_row_that_is_nested_too_deep_is_rejected(
    mongodb: Database[dict[str, Any]], tmp_path: Path, deep: int
) -> None:
    """MongoDB, Python and the decoder have different limits. The row is rejected and the others are imported."""
    path = tmp_path / "deep.ndjson"
    lists = "[" * deep + "]" * deep
    path.write_text(f'{{"user_id": "ada"}}\n{{"user_id": "bob", "a": {lists}}}\n{{"user_id": "cyd"}}\n')
    rejects: list[Reject] = []
    done = imported(path, mongodb, "demo", rejects)
    assert (done.accepted, done.new, done.rejected) == (2, 2, 1)
    assert [reject.records[0].place for reject in rejects] == ["2"]
    assert sorted(row["user"] for row in mongodb.customers.find()) == ["ada", "cyd"]


def test_a_customer_that_grows_too_large_stops_no_other(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """Its rows are rejected, and all others are imported and counted once.

    The customer may be too large within a bulk, or only together with the stored attributes.
    """
    path = tmp_path / "large.ndjson"

    def write(user: str, first: int, number: int) -> str:
        return "".join(
            json.dumps({"user_id": user, f"a{n}": "x" * 1_000_000}) + "\n" for n in range(first, first + number)
        )

    path.write_text('{"user_id": "ada", "n": 1}\n' + write("bob", 0, 18) + '{"user_id": "cyd", "n": 1}\n')
    rejects: list[Reject] = []
    done = imported(path, mongodb, "demo", rejects)
    assert (done.accepted, done.new, done.rejected) == (2, 2, 18)
    assert {reject.reason for reject in rejects} == {"the customer would be larger than 16 MB"}
    assert sorted(row["user"] for row in mongodb.customers.find()) == ["ada", "cyd"]

    path.write_text(write("bob", 0, 10))
    assert imported(path, mongodb, "demo").new == 1
    path.write_text('{"user_id": "ada", "n": 2}\n' + write("bob", 10, 9))
    done = imported(path, mongodb, "demo", rejects)
    assert (done.accepted, done.changed, done.rejected) == (1, 1, 9)
    assert len(rejects) == 18 + 9


def test_the_opt_out_of_a_rejected_row_counts(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A stored customer must get no message, even if the row with the opt-out has an invalid attribute."""
    first, second = tmp_path / "1.ndjson", tmp_path / "2.ndjson"
    first.write_text('{"user_id": "ada", "orders": 7}\n')
    second.write_text('{"user_id": "ada", "attributes": {"orders": "many"}, "opted_out": ["email"]}\n')
    imported(first, mongodb, "demo")
    rejects: list[Reject] = []
    done = imported(second, mongodb, "demo", rejects)
    assert (done.accepted, done.rejected, done.opted_out) == (0, 1, 1)
    assert rejects[0].reason == "orders: expected a number, got 'many'"
    assert has_opted_out(mongodb, "demo", "ada", "email")
    assert mongodb.customers.find_one()["attributes"] == {"orders": 7}  # type: ignore[index]


def test_opt_outs_of_all_rows_of_a_user_count(mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """A later row of the same file does not undo an opt-out."""
    path = tmp_path / "c.ndjson"
    rows = ({"user_id": "ada", "attributes": {}, "opted_out": [channel]} for channel in ("email", "sms"))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert imported(path, mongodb, "demo").opted_out == 1
    assert [has_opted_out(mongodb, "demo", "ada", each) for each in ("email", "sms", "push")] == [
        True,
        True,
        False,
    ]
