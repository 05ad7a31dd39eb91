"""The customers file: what a row becomes, which rows are refused and why."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opportune.customer_rows import LONGEST_ROW, Reject, Row, open_rows, typed
from shared.errors import InvalidRequest


def parse(path: Path, id_column: str = "user_id") -> list[Row | Reject]:
    """Return all rows of a file."""
    with open_rows(path, id_column) as rows:
        return list(rows)


def written(folder: Path, name: str, text: str | bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def reasons(rows: list[Row | Reject]) -> list[tuple[int, str]]:
    """Return row number and reason of the refused ones."""
    return [(row.row, row.reason) for row in rows if isinstance(row, Reject)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.50", 1.5),
        ("1e-05", 1e-05),
        ("007", "007"),
        ("+49123", "+49123"),
        ("1,5", "1,5"),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", "9223372036854775808"),
        ("1e999", "1e999"),
        ("nan", "nan"),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T10:20:30.5Z", datetime(2026, 3, 1, 10, 20, 30, 500_000, tzinfo=UTC)),
        ("2026-03-01 10:20+02:00", datetime(2026, 3, 1, 8, 20, tzinfo=UTC)),
        ("2026-02-31", "2026-02-31"),
        ("0001-01-01T00:00+14:00", "0001-01-01T00:00+14:00"),
        ("20260301", 20260301),
        ("Ada", "Ada"),
    ],
)
def test_csv_values_are_what_they_read_like(text: str, value: Any) -> None:
    """Numbers, truth and dates get their type; what a type would change stays text."""
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_a_csv_row_is_a_customer(tmp_path: Path) -> None:
    """The id stays text, an empty cell is an absent attribute, a byte order mark is none of the header."""
    path = written(tmp_path, "c.csv", '\ufeffuser_id,name,age\n0042,"Lovelace, Ada",36\nbob,,\n')
    assert parse(path) == [Row("0042", {"name": "Lovelace, Ada", "age": 36}), Row("bob", {})]


def test_another_id_column_may_be_named(tmp_path: Path) -> None:
    """The column of user ids is the caller's choice, in both formats."""
    assert parse(written(tmp_path, "c.csv", "name,id\nAda,1\n"), "id") == [Row("1", {"name": "Ada"})]
    assert parse(written(tmp_path, "c.jsonl", '{"id": 1, "name": "Ada"}\n'), "id") == [Row("1", {"name": "Ada"})]


def test_broken_csv_rows_are_named_and_good_ones_kept(tmp_path: Path) -> None:
    """Each broken row has its number, the header being 1, and its reason; the rows around it come through."""
    text = b"user_id,name\na,1\nb\nc,1,2\n,Ada\nanon:7,x\n\nd,\xff\n" + b'e,"x" y\nf,2\n'
    rows = parse(written(tmp_path, "c.csv", text))
    assert [row.user for row in rows if isinstance(row, Row)] == ["a", "f"]
    found = reasons(rows)
    assert [number for number, _ in found] == [3, 4, 5, 6, 8, 9]
    assert found[:5] == [
        (3, "1 columns instead of 2"),
        (4, "3 columns instead of 2"),
        (5, "no user_id"),
        (6, "user_id begins with the reserved anon:"),
        (8, "not UTF-8"),
    ]


@pytest.mark.parametrize("header", ["name,age", "user_id,a.b", "user_id,$a", "user_id,a,a", "user_id,", ""])
def test_a_csv_with_an_unusable_header_is_refused_whole(tmp_path: Path, header: str) -> None:
    """No id column, a name MongoDB cannot store, or one name twice: there is no good row in such a file."""
    with pytest.raises(InvalidRequest, match=r"c\.csv"):
        parse(written(tmp_path, "c.csv", header + "\nx,y\n"))


def test_ndjson_has_two_shapes(tmp_path: Path) -> None:
    """Attributes stand beside the user id or in an object of their own; null is absent, dates are dates."""
    beside = '{"user_id": "a", "name": "Ada", "age": 36, "x": null}'
    apart = '{"user_id": 7, "attributes": {"at": "2026-03-01", "tags": ["a"]}}'
    assert parse(written(tmp_path, "c.ndjson", f"{beside}\n\n{apart}\n")) == [
        Row("a", {"name": "Ada", "age": 36}),
        Row("7", {"at": datetime(2026, 3, 1, tzinfo=UTC), "tags": ["a"]}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not JSON"),
        ("[1]", "not a JSON object"),
        ("7", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"name": "Ada"}', "no user_id"),
        ('{"user_id": ""}', "no user_id"),
        ('{"user_id": true}', "no user_id"),
        ('{"user_id": "anon:1"}', "reserved anon:"),
        ('{"user_id": "a", "a.b": 1}', "'a.b'"),
        ('{"user_id": "a", "x": [{"$gt": 1}]}', "'$gt'"),
        ('{"user_id": "a", "": 1}', "attribute name ''"),
        ('{"user_id": "a", "n": 9223372036854775808}', "too big"),
        ('{"user_id": "a", "attributes": {"x": 1}, "y": 2}', "y beside attributes"),
        ('{"user_id": "a", "x": "' + "x" * LONGEST_ROW + '"}', "longer than"),
    ],
)
def test_broken_ndjson_rows_are_named_and_good_ones_kept(tmp_path: Path, line: str, reason: str) -> None:
    """A broken line costs itself only; line 1 is row 1."""
    rows = parse(written(tmp_path, "c.ndjson", '{"user_id": "a"}\n' + line + '\n{"user_id": "b"}\n'))
    assert [row.user for row in rows if isinstance(row, Row)] == ["a", "b"]
    assert [number for number, _ in reasons(rows)] == [2]
    assert reason in reasons(rows)[0][1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv.gz", "user_id,n\na,1\n"),
        ("c.ndjson.gz", '{"user_id": "a", "n": 1}'),
        ("C.CSV", "user_id,n\na,1\n"),
    ],
)
def test_the_name_says_the_format(tmp_path: Path, name: str, text: str) -> None:
    """Suffixes of any case count, `.gz` is unpacked on the way."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert parse(path) == [Row("a", {"n": 1})]


def test_files_that_are_not_what_they_say_are_refused(tmp_path: Path) -> None:
    """An unknown suffix, no file, no gzip, and a gzip cut off: one clear error each."""
    for name, data in (
        ("c.txt", b"x"),
        ("c.csv.gz", b"user_id\na\n"),
        ("d.csv.gz", gzip.compress(b"user_id\n" * 999)[:-12]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidRequest):
            parse(tmp_path / name)
    with pytest.raises(InvalidRequest, match="No such file"):
        parse(tmp_path / "none.csv")
