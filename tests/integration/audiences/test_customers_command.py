"""`opportune customers` against a real MongoDB, with the arguments that a user types."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from typer.testing import CliRunner, Result

from definitions.model.definitions import Definitions
from opportune.cli import main
from shared.optouts import OptOuts
from tests.support.definitions import define, publish
from tests.unit.audiences.test_pinpoint import PHONE, endpoint, lines


@pytest.fixture(name="opportune")
def _opportune(mongodb: Database[dict[str, Any]], mongodb_url: str) -> Any:
    env = {"OPPORTUNE_MONGODB_URL": mongodb_url, "OPPORTUNE_MONGODB_DATABASE": mongodb.name, "COLUMNS": "80"}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main.app, ["customers", *arguments], env=env, catch_exceptions=False)

    return run


def test_rejects_can_be_corrected_and_imported(
    opportune: Any, mongodb: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """Rejects lead to exit code 1. The corrected rejects file imports the other rows, with exit code 0."""
    path = tmp_path / "players.csv"
    path.write_text("user_id,age\nada,36\n,40\nbob,1,2\n")
    done = opportune("import", str(path), "--site", "demo")
    assert done.exit_code == 1
    assert "never published" in done.stderr
    for said in ("players.csv:3: no user_id", "players.csv:4: expected 2 columns, got 3"):
        assert said in done.stderr
    assert "1 imported, 2 rejected; customers: 1 new, 0 changed" in done.stdout
    rejects = tmp_path / "players.rejects.csv"
    assert rejects.read_text() == (
        '_line,_reason,user_id,age\n3,no user_id,,40\n4,"expected 2 columns, got 3",bob,1,2\n'
    )
    rejects.write_text(rejects.read_text().replace(",,40", ",cy,40").replace("bob,1,2", "bob,12"))
    corrected = opportune("import", str(rejects), "--site", "demo")
    assert corrected.exit_code == 0, corrected.stderr
    assert {row["user"]: row["attributes"] for row in mongodb.customers.find()} == {
        "ada": {"age": 36},
        "bob": {"age": 12},
        "cy": {"age": 40},
    }


def test_programs_get_json(opportune: Any, tmp_path: Path) -> None:
    """`--json` prints one object. A repeated import has no new and no changed customers."""
    path = tmp_path / "players.ndjson"
    path.write_text('{"user_id": "ada", "age": 36}\n[1]\n')
    first = json.loads(opportune("import", str(path), "--site", "demo", "--json").stdout)
    assert first == {
        "site": "demo",
        "accepted": 1,
        "new": 1,
        "changed": 0,
        "opted_out": 0,
        "rejected": 1,
        "rejects": str(tmp_path / "players.rejects.ndjson"),
        "first_rejects": [{"line": "2", "reason": "not a JSON object"}],
        "left_out": {},
        "types": {"age": "number"},
        "widened": [],
        "unreachable": {},
        "renamed": {},
        "warnings": [],
    }
    again = json.loads(opportune("import", str(path), "--site", "demo", "--json").stdout)
    assert (again["new"], again["changed"], again["types"]) == (0, 0, {})


def test_a_pinpoint_export_is_imported_unchanged(
    opportune: Any, mongodb: Database[dict[str, Any]], tmp_path: Path
) -> None:
    """Customers, opt-outs and a list of users are written. A repeated import changes nothing."""
    path, users = tmp_path / "export", tmp_path / "players.txt"
    path.mkdir()
    eve = {"UserId": "eve", "UserAttributes": {"age": ["33"], "likes": ["a", "b"]}}
    (path / "part-0.json").write_text(
        lines(
            PHONE, endpoint("EMAIL", "e@example.com", 1, OptOut="ALL", User=eve), {"ChannelType": "GCM", "Address": "t"}
        )
    )
    done = opportune("import", str(path), "--site", "demo", "--list", str(users))
    assert done.exit_code == 0, done.stderr
    assert "2 imported, 0 rejected; customers: 2 new, 0 changed" in done.stdout
    assert "1 customer(s) opted out" in done.stdout
    assert "left out: 1 endpoint(s) without a user id" in done.stdout
    assert users.read_text() == "ada\neve\n"
    row = mongodb.customers.find_one({"_id": "demo:eve"})
    assert row is not None
    assert row["attributes"] == {"age": 33, "likes": ["a", "b"], "email": "e@example.com"}
    assert [(row["user"], list(row["channels"])) for row in mongodb.optouts.find()] == [("eve", ["email"])]
    again = opportune("import", str(path), "--site", "demo", "--json")
    assert {name: json.loads(again.stdout)[name] for name in ("new", "changed", "opted_out")} == {
        "new": 0,
        "changed": 0,
        "opted_out": 0,
    }


def test_all_endpoints_of_a_rejected_customer_are_rejected(opportune: Any, tmp_path: Path) -> None:
    """The corrected rejects file makes the complete customer."""
    first, second, rejects = tmp_path / "1.csv", tmp_path / "2.json", tmp_path / "r.json"
    first.write_text("user_id,visits\nada,3\n")
    wrong = endpoint("EMAIL", "a@example.com", 1, Attributes={"visits": ["many"]})
    second.write_text(lines(wrong, {**PHONE, "Metrics": {}}))
    opportune("import", str(first), "--site", "demo")
    done = opportune("import", str(second), "--site", "demo", "--rejects", str(rejects))
    assert done.exit_code == 1
    assert "visits: expected a number, got 'many'" in done.stderr
    assert [json.loads(line)["ChannelType"] for line in rejects.read_text().splitlines()] == ["EMAIL", "SMS"]
    rejects.write_text(rejects.read_text().replace("many", "4"))
    assert opportune("import", str(rejects), "--site", "demo").exit_code == 0


def test_an_export_can_be_imported(opportune: Any, mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """An export has one line per customer, with types and opt-outs, and only customers of its site."""
    rows = [
        {"user_id": "ada", "attributes": {"since": "2026-03-01T10:00:00Z", "tags": ["a"], "age": 36, "home": {"x": 1}}},
        {"user_id": "eve", "attributes": {}, "opted_out": ["email", "sms"]},
    ]
    path, packed = tmp_path / "c.ndjson", tmp_path / "all.ndjson.gz"
    path.write_text(lines(*rows))
    for site in ("demo", "demo-2"):
        publish(mongodb, definitions(site), [])
        opportune("import", str(path), "--site", site)
    OptOuts(mongodb.optouts).add("demo", "bob", "push", "asked")
    before = list(mongodb.customers.find({"site": "demo"}))
    done = opportune("export", str(packed), "--site", "demo")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (0, "3 customer(s) exported")
    lines_of = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).splitlines()]
    assert lines_of == [rows[0], {"user_id": "bob", "attributes": {}, "opted_out": ["push"]}, rows[1]]
    mongodb.customers.delete_many({"site": "demo"})
    mongodb.optouts.delete_many({})
    assert opportune("import", str(packed), "--site", "demo").exit_code == 0
    assert [row for row in mongodb.customers.find({"site": "demo"}) if row["user"] != "bob"] == before
    assert sorted(row["_id"] for row in mongodb.optouts.find()) == ["demo:bob", "demo:eve"]
    assert list(tmp_path.glob(".*")) == []


def test_a_customer_is_shown(opportune: Any, mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """The output has attributes with types, and opt-outs with reasons. An unknown id leads to exit code 2."""
    publish(mongodb, definitions("demo"), [])
    path = tmp_path / "c.ndjson"
    path.write_text(lines({"user_id": "ada", "attributes": {"age": 36, "since": "2026-03-01"}, "opted_out": ["sms"]}))
    opportune("import", str(path))
    said = opportune("show", "ada").stdout
    for part in ("age", "36", "number", "2026-03-01 ", "date", "opted out of sms", "imported"):
        assert part in said
    assert json.loads(opportune("show", "ada", "--json").stdout)["attributes"]["age"] == 36
    unknown = opportune("show", "nobody")
    assert (unknown.exit_code, "unknown_customer" in unknown.stderr) == (2, True)


def definitions(site: str) -> Definitions:
    """Return the definitions of an empty site."""
    keys = [{"kind": "public", "key": "wk_public"}]
    return define({"site": {"id": site, "name": site, "keys": keys}})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        (["rows.csv", "--from", "braze"], "only 'pinpoint'"),
        (["rows.csv", "--list", "x"], "--list is for exports"),
        (["rows.csv", "--endpoint-ids"], "--endpoint-ids is for exports"),
        (["rows.csv", "--rejects", "./rows.csv"], "this is the file to import"),
        (["bad.csv", "--rejects", "./no/folder"], "--rejects"),
        (["rows.csv", "--id-column", "id"], "no column 'id': name another with --id-column; known: user_id"),
        (["semicolons.csv"], "no column 'user_id': separate columns by commas; known: user_id;age"),
        (["empty.csv"], "empty.csv: the file is empty; its first line must name the columns"),
        (["export.json", "--list", "./no/folder"], "No such file or directory; name another file with --list"),
        (["rows.csv", "--site", "My Shop"], "an id has 1 to 32 letters a-z, digits and '-', such as 'my-shop'"),
    ],
)
def test_a_mistake_is_reported_in_one_line(opportune: Any, tmp_path: Path, arguments: list[str], says: str) -> None:
    """The exit code is 2."""
    (tmp_path / "rows.csv").write_text("user_id\na\n")
    (tmp_path / "bad.csv").write_text("user_id\na,b\n")
    (tmp_path / "semicolons.csv").write_text("user_id;age\na;5\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "export.json").write_text(lines(PHONE))
    paths = [str(tmp_path / each) if "." in each else each for each in arguments]
    done = opportune("import", "--site", "demo", *paths)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())
    assert len(done.stderr.splitlines()) <= 3


def test_a_misspelt_site_gets_a_suggestion(opportune: Any, mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """The site may be published later, so the import goes on. More likely, another site was meant."""
    site = {"id": "my-shop", "name": "My shop", "keys": [{"kind": "public", "key": "wk_shop_public"}]}
    publish(mongodb, define({"site": site}), [])
    (tmp_path / "c.csv").write_text("user_id\nada\n")
    done = opportune("import", str(tmp_path / "c.csv"), "--site", "my-shpo")
    assert done.exit_code == 0
    assert " ".join(done.stderr.split()) == (
        "note: site 'my-shpo' was never published; importing its customers anyway, did you mean 'my-shop'?"
    )
