"""Reading a customers file: the customer that a row becomes, and the rows that are rejected."""

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from opportune.audiences.customers.attributes import infer_type
from opportune.audiences.customers.lines import MAX_LINE, InvalidRecord, Record
from opportune.audiences.customers.rejects import RejectsFile, default_path
from opportune.audiences.customers.rows import Reject, Row, open_rows
from opportune.audiences.customers.values import Single, Type, convert, parse_scalar
from shared.errors import InvalidRequest


def parse(path: Path, id_column: str = "user_id") -> list[Row | Reject]:
    """Return all rows and rejects of a file."""
    with open_rows(path, id_column) as rows:
        return list(rows.rows)


def customers(rows: list[Row | Reject]) -> list[tuple[str, dict[str, Any]]]:
    """Return the user and the attributes of each customer."""
    return [(row.user, row.attributes) for row in rows if isinstance(row, Row)]


def written(folder: Path, name: str, text: str | bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def reasons(rows: list[Row | Reject]) -> list[tuple[int, str]]:
    """Return the line and the reason of each reject."""
    return [(int(row.records[0].place), row.reason) for row in rows if isinstance(row, Reject)]


# One time as events and files write it; see `tests/unit/shared/test_times.py`.
MIDNIGHTS = [
    1569888000, 1569888000.0, 1569888000000, 1569888000000000, "1569888000", "1569888000.0", "1569888000000",
    "20191001", "2019-10-01 00:00:00 UTC", "2019-10-01T00:00:00 Z", "2019-10-01 02:00:00 +0200",
    "2019-10-01T02:00:00+02", "2019-10-1 00:00:00", "2019-10-01t00:00:00z", "2019-10-01T00:00:00.000000000Z",
]  # fmt: skip


@pytest.mark.parametrize("text", [each for each in MIDNIGHTS if isinstance(each, str) and "-" in each])
def test_a_date_is_recognised_as_in_events(text: str) -> None:
    """Text with a zone behind it is a date. Digits alone are not one: they may be anything."""
    assert parse_scalar(text) == datetime(2019, 10, 1, tzinfo=UTC)
    assert infer_type([text], untyped=True) == infer_type([text], untyped=False) == "date"


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
def test_csv_values_get_the_type_they_read_like(text: str, value: Any) -> None:
    """Numbers, booleans and dates get their type. A value that its type would change stays text."""
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_a_csv_row_is_a_customer(tmp_path: Path) -> None:
    """The id stays text, an empty cell is a missing attribute, and a byte order mark is ignored."""
    path = written(tmp_path, "c.csv", '\ufeffuser_id,name,age\n0042,"Lovelace, Ada",36\nbob,,\n')
    rows = parse(path)
    assert customers(rows) == [("0042", {"name": "Lovelace, Ada", "age": "36"}), ("bob", {})]
    assert [row.records for row in rows] == [(Record("2", '0042,"Lovelace, Ada",36'),), (Record("3", "bob,,"),)]


def test_another_id_column_may_be_named(tmp_path: Path) -> None:
    """The caller names the column of user ids, in both formats."""
    for name, text in (("c.csv", "name,id\nAda,1\n"), ("c.jsonl", '{"id": 1, "name": "Ada"}\n')):
        assert customers(parse(written(tmp_path, name, text), "id")) == [("1", {"name": "Ada"})]


def test_invalid_csv_rows_are_reported_and_others_kept(tmp_path: Path) -> None:
    """Each invalid row is reported with its line and the reason. The header is line 1."""
    text = b"user_id,name\na,1\nb\nc,1,2\n,Ada\nanon:7,x\n\nd,\xff\n" + b'e,"x" y\nf,2\n'
    rows = parse(written(tmp_path, "c.csv", text))
    assert [row.user for row in rows if isinstance(row, Row)] == ["a", "f"]
    found = reasons(rows)
    assert [number for number, _ in found] == [3, 4, 5, 6, 8, 9]
    assert found[:5] == [
        (3, "expected 2 columns, got 1"),
        (4, "expected 2 columns, got 3"),
        (5, "no user_id"),
        (6, "a user id must not begin with 'anon:'"),
        (8, "not UTF-8"),
    ]


@pytest.mark.parametrize("header", ["name,age", "user_id,a.b", "user_id,$a", "user_id,a,a", "user_id,", ""])
def test_a_csv_with_an_unusable_header_is_refused(tmp_path: Path, header: str) -> None:
    """The header has no id column, a name that MongoDB cannot store, or a name twice."""
    with pytest.raises(InvalidRequest, match=r"c\.csv"):
        parse(written(tmp_path, "c.csv", header + "\nx,y\n"))


def test_ndjson_has_two_shapes(tmp_path: Path) -> None:
    """Attributes are beside the user id or in an object of their own. Null is missing, and nested dates are dates."""
    flat = '{"user_id": "a", "name": "Ada", "age": 36, "x": null}'
    apart = '{"user_id": 7, "attributes": {"in": {"at": "2026-03-01"}, "tags": ["a"]}}'
    assert customers(parse(written(tmp_path, "c.ndjson", f"{flat}\n\n{apart}\n"))) == [
        ("a", {"name": "Ada", "age": 36}),
        ("7", {"in": {"at": datetime(2026, 3, 1, tzinfo=UTC)}, "tags": ["a"]}),
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
        ('{"user_id": true}', "'user_id' must be a string"),
        ('{"user_id": "anon:1"}', "must not begin with 'anon:'"),
        ('{"user_id": "a", "a.b": 1}', "'a.b'"),
        ('{"user_id": "a", "x": [{"$gt": 1}]}', "'$gt'"),
        ('{"user_id": "a", "": 1}', "attribute name ''"),
        ('{"user_id": "a", "n": 9223372036854775808}', "too large"),
        ('{"user_id": "a", "attributes": {"x": 1}, "y": 2}', "unexpected beside 'attributes': y"),
        ('{"user_id": "a", "attributes": {}, "opted_out": ["mail"]}', "opted_out: expected a list of channels"),
        ('{"user_id": "a", "x": "' + "x" * MAX_LINE + '"}', "longer than"),
    ],
)
def test_invalid_ndjson_rows_are_reported_and_others_kept(tmp_path: Path, line: str, reason: str) -> None:
    """Only the invalid line is rejected. The first row is line 1."""
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
def test_the_file_name_tells_the_format(tmp_path: Path, name: str, text: str) -> None:
    """Suffixes may be in any case, and `.gz` is decompressed."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    (row,) = customers(parse(path))
    assert (row[0], list(row[1])) == ("a", ["n"])


def test_files_in_another_format_than_their_name_are_refused(tmp_path: Path) -> None:
    """An unknown suffix, a missing file, a file that is not gzip, and a truncated one are errors."""
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


def test_a_row_of_several_lines_is_reported_by_its_first(tmp_path: Path) -> None:
    """A cell may contain line breaks. Later lines keep their numbers, and a line that is too long is rejected alone."""
    text = 'user_id,name\na,"two\nlines"\n,Nobody\n' + "x" * (MAX_LINE + 1) + "\nb,\n,Nobody\n"
    rows = parse(written(tmp_path, "c.csv", text))
    assert customers(rows) == [("a", {"name": "two\nlines"}), ("b", {})]
    assert reasons(rows) == [
        (4, "no user_id"),
        (5, f"the line is longer than {MAX_LINE} characters"),
        (7, "no user_id"),
    ]


@pytest.mark.parametrize(
    ("value", "wanted", "converted"),
    [
        ("36", "number", 36),
        ("36", "text", "36"),
        (36, "number", 36),
        (True, "boolean", True),
        ("TRUE", "boolean", True),
        ("2026-03-01", "date", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01", "text", "2026-03-01"),
        *((stamp, "date", datetime(2019, 10, 1, tzinfo=UTC)) for stamp in MIDNIGHTS),
        ("1970-01-03", "date", datetime(1970, 1, 3, tzinfo=UTC)),
        (["a"], "list", ["a"]),
        (Single("a"), "list", ["a"]),
        (Single("36"), "number", 36),
        ({"a": 1}, "object", {"a": 1}),
    ],
)
def test_values_are_converted_to_the_wanted_type(value: Any, wanted: Type, converted: Any) -> None:
    """Text is parsed. Other values must already have the type."""
    assert convert(value, wanted) == converted
    assert type(convert(value, wanted)) is type(converted)


@pytest.mark.parametrize(
    ("value", "wanted", "reason"),
    [
        ("many", "number", "expected a number, got 'many'"),
        ("x" * 100, "date", f"expected a date such as 2026-11-25 or 2026-11-25T10:00:00Z, got '{'x' * 36}..."),
        ("a", "list", 'expected a list such as ["a", "b"] (NDJSON only), got \'a\''),
        ("a", "object", "expected an object such as {\"a\": 1} (NDJSON only), got 'a'"),
        ("ja", "boolean", "expected true or false, got 'ja'"),
        (36, "text", "expected text, got a number: 36"),
        (True, "number", "expected a number, got a boolean: True"),
        (["a"], "text", "expected text, got a list: ['a']"),
        (1, "object", "expected an object, got a number: 1"),
        (7, "date", "expected a date, got a number: 7"),
        ("7", "date", "expected a date such as 2026-11-25 or 2026-11-25T10:00:00Z, got '7'"),
        ("2019-02-30 00:00:00 UTC", "date", "got '2019-02-30 00:00:00 UTC'"),
        (True, "date", "expected a date, got a boolean: True"),
    ],
)
def test_values_of_another_type_are_rejected(value: Any, wanted: Type, reason: str) -> None:
    """The reason names both types and an excerpt of the value."""
    with pytest.raises(InvalidRecord) as caught:
        convert(value, wanted)
    assert str(caught.value).endswith(reason)
    assert len(str(caught.value)) < 110


@pytest.mark.parametrize(
    ("values", "untyped", "found"),
    [
        (["1", "2.5"], True, "number"),
        (["1010", "007"], True, "text"),
        (["1", "2026-03-01"], True, "text"),
        (["true", "FALSE"], True, "boolean"),
        (["2026-03-01", "2026-03-02T10:00Z"], False, "date"),
        (["2026-03-01", "soon"], False, "text"),
        (["1", "2"], False, "text"),
        ([1, 2, "many"], False, "number"),
        ([Single("1"), Single("2")], True, "number"),
        ([["a"], ["b", "c"]], True, "list"),
    ],
)
def test_the_first_rows_decide_the_type(values: list[Any], untyped: bool, found: Type) -> None:
    """All values share the type. If one number would lose digits, all values are text."""
    assert infer_type(values, untyped=untyped) == found


@pytest.mark.parametrize(
    ("name", "text", "invalid", "corrected"),
    [
        ("c.csv", 'user_id,n\n,"1,5"\na,b,"c"\n', ',,"1,5"', ',u1,"1,5"'),
        ("c.ndjson", '{"n": 1}\n{}\n{cut\n', '"n": 1}', '"n": 1, "user_id": "u1"}'),
    ],
)
def test_rejects_can_be_corrected_and_imported(
    tmp_path: Path, name: str, text: str, invalid: str, corrected: str
) -> None:
    """The rejects file has the unchanged rows with line and reason. Rejected again, they get its own line numbers."""
    path = written(tmp_path, name, text)
    first = rejected(path)
    assert all(line in first for line in (text.splitlines()[-1].lstrip("{"), "no user_id"))
    again = written(tmp_path, f"again{path.suffix}", first)
    second = rejected(again)
    assert second.count("_reason") == first.count("_reason")
    assert len(second.splitlines()) == len(first.splitlines())
    whole = written(tmp_path, f"corrected{path.suffix}", second.replace(invalid, corrected))
    assert [user for user, _ in customers(parse(whole))] == ["u1"]


def rejected(path: Path) -> str:
    """Import a file and return the text of its rejects file."""
    target = path.with_name("rejects")
    with open_rows(path, "user_id") as rows, RejectsFile(target, rows.header) as file:
        for row in rows.rows:
            if isinstance(row, Reject):
                file.add(row)
    return target.read_text(encoding="utf-8")


def test_the_rejects_file_is_beside_the_imported_file(tmp_path: Path) -> None:
    """Its name begins with that of the imported file and ends with the suffix of the format."""
    for name, rejects in (
        ("c.csv.gz", "c.rejects.csv"),
        ("c.ndjson", "c.rejects.ndjson"),
        ("part-1", "part-1.rejects.ndjson"),
    ):
        (tmp_path / name).touch()
        assert default_path(tmp_path / name) == tmp_path / rejects
    assert default_path(tmp_path) == tmp_path.parent / f"{tmp_path.name}.rejects.ndjson"
