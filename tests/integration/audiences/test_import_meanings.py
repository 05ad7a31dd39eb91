"""Values of customer files keep their meaning: contacts and codes are text, and nothing becomes another value unseen.

The classes of faults: a type that is inferred from how a value looks although its name says more; a value in the
format of a country; a column or a field that has another name than Opportune's; and an address that no message can
reach. Right is the value as the site wrote it, or a reject with the reason, or a warning.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from opportune.audiences.customers.importing import ImportResult, import_customers
from opportune.audiences.customers.local_formats import check_locale, to_standard
from opportune.audiences.customers.rows import open_rows
from shared.errors import InvalidRequest
from tests.support.definitions import define, publish

Mongo = Database[dict[str, Any]]


@pytest.fixture(name="load")
def _load(mongodb: Mongo, tmp_path: Path) -> Any:
    """Return a function that imports text as a file, and returns the result, the reasons of rejects, and a user."""

    def load(text: str, suffix: str = "csv", locale: str = "") -> tuple[ImportResult, list[str], dict[str, Any]]:
        path = tmp_path / f"c.{suffix}"
        path.write_text(text)
        reasons: list[str] = []
        with open_rows(path, "user_id") as rows:
            on_reject = lambda reject: reasons.append(reject.reason)  # noqa: E731
            result = import_customers(rows, mongodb, "shop", on_reject=on_reject, locale=locale)
        row = mongodb.customers.find_one({"_id": "shop:ada"})
        return result, reasons, row["attributes"] if row else {}

    return load


def test_a_phone_number_is_never_a_number(load: Any) -> None:
    """Without a country it is rejected with advice; corrected, it is accepted in a later file."""
    result, reasons, _ = load("user_id,phone\nada,447911123456\n")
    assert (result.accepted, result.rejected) == (0, 1)
    assert "expected a phone number in E.164" in reasons[0]
    assert "write +447911123456" in reasons[0]
    for text, suffix in (
        ("user_id,phone\nada,+447911123456\n", "csv"),
        ("user_id,Phone\nada,+44 7911 123-456\n", "csv"),
        ('{"user_id": "ada", "phone": "\\u202a+447911123456\\u202c"}\n', "ndjson"),
    ):
        result, reasons, ada = load(text, suffix)
        assert (reasons, ada["phone"]) == ([], "+447911123456")
    assert load('{"user_id": "ada", "phone": 447911123456}\n', "ndjson")[1]


@pytest.mark.parametrize("name", ["email", "phone", "timezone", "locale", "push_endpoint", "postal_code", "make"])
def test_contacts_and_codes_are_text(load: Any, mongodb: Mongo, name: str) -> None:
    """Their names decide, not their values."""
    load(f"user_id,{name}\nada,1.10\n")
    assert mongodb.customer_attributes.find_one({"_id": f"shop:{name}"})["type"] == "text"  # type: ignore[index]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("10115", "01067", "10115"), ("1.2", "1.2.1", "1.2"), ("7", "007", "7"), ("12", "12-34", "12"), ("5", "5b", "5")],
)
def test_an_inferred_number_widens_to_text(load: Any, mongodb: Mongo, first: str, second: str, expected: str) -> None:
    """The stored values become text with the type, and the summary says so."""
    load(f"user_id,zip\nada,{first}\n")
    result, reasons, ada = load(f"user_id,zip\nbob,{second}\n")
    bob = mongodb.customers.find_one({"_id": "shop:bob"})
    assert (reasons, ada["zip"], bob["attributes"]["zip"]) == ([], expected, second)  # type: ignore[index]
    assert result.widened == ["zip"]
    assert any("zip was a number" in note for note in result.notes())


def test_words_and_needed_numbers_do_not_widen(load: Any, mongodb: Mongo) -> None:
    """A word in a column of numbers is a mistake. A number that a live rule compares stays one, and says why."""
    load("user_id,orders\nada,5\n")
    assert load("user_id,orders\nbob,many\n")[1] == ["orders: expected a number, got 'many'"]
    site = {"id": "shop", "name": "Shop", "keys": [{"kind": "public", "key": "wk_public"}]}
    group = {"id": "regulars", "name": "R", "rule": {"orders": {"gte": 3}}}
    publish(mongodb, define({"site": site, "groups": [group]}), [])
    (reason,) = load("user_id,orders\nbob,007\n")[1]
    assert reason == "orders: expected a number, got '007': the rule of a target group needs the number"


def test_addresses_are_checked(load: Any) -> None:
    """Invisible characters go, what is not an address is rejected, and what SES cannot reach is counted."""
    _, reasons, ada = load("user_id,email\nada,\u200bada@ex\ufeffample.com\u200b\nbob,bob\neve,eve@x..de\n")
    assert ada["email"] == "ada@example.com"
    assert reasons == ["email: expected exactly one e-mail address"] * 2
    result, reasons, _ = load("user_id,email\nada,jörg@example.com\nbob,ana@straße.example\n")
    assert (reasons, result.unreachable, result.accepted) == ([], {"email": 1}, 2)
    assert any("unreachable: 1 email" in note for note in result.notes())


@pytest.mark.parametrize("user", ["1.23457E+19", "1,23457E+19", "4E+11", "1.5e+10"])
def test_a_rounded_user_id_is_rejected(load: Any, user: str) -> None:
    """A spreadsheet has lost its digits, so it may be that of many customers."""
    result, reasons, _ = load(f'user_id,tier\n"{user}",vip\n')
    assert (result.accepted, len(reasons)) == (0, 1)
    assert "lost digits" in reasons[0]


@pytest.mark.parametrize("column", ["Email", "EMAIL", "E-Mail", "e_mail"])
def test_a_column_may_be_written_in_another_way(load: Any, column: str) -> None:
    """The summary names the column; a column of the right name comes first."""
    result, _, ada = load(f"user_id,{column}\nada,ada@example.com\n")
    assert (ada, result.renamed) == ({"email": "ada@example.com"}, {column: "email"})
    assert f"the column {column} was imported as email" in result.notes()
    result, _, ada = load(f"user_id,{column},email\nada,other,ada@example.com\n")
    assert (ada["email"], ada[column], result.renamed) == ("ada@example.com", "other", {})


def test_traits_of_segment_are_attributes(load: Any) -> None:
    """A line of an `identify` call, with its own names and with ours."""
    for line in (
        '{"type": "identify", "userId": "ada", "traits": {"tier": "vip", "Email": "ada@example.com"}, "context": {}}',
        '{"user_id": "ada", "traits": {"tier": "vip", "email": "ada@example.com"}}',
    ):
        _, reasons, ada = load(line + "\n", "ndjson")
        assert (reasons, ada) == ([], {"tier": "vip", "email": "ada@example.com"})


def test_formats_of_a_country_are_read_or_named(load: Any) -> None:
    """With the locale they are dates, booleans and numbers; without it they are text with a warning each."""
    text = 'user_id,renews,sms,total,note\nada,30.11.2026,ja,"1.234,50",30.11.2026\nbob,01.12.2026,nein,"7,00",later\n'
    result, _, ada = load(text)
    assert ada["total"] == "1.234,50"
    warnings = [note for note in result.notes() if note.startswith("warning")]
    assert len(warnings) == 4
    assert "renews was imported as text, but 100% of its rows look like dates" in warnings[0]
    assert any("note was imported as text, but 50% of its rows" in each for each in warnings)


def test_a_locale_reads_the_formats_of_its_country(load: Any) -> None:
    """Text columns stay as they are, also if some of their values look like dates."""
    text = 'user_id,renews,sms,total,note\nada,30.11.2026,ja,"1.234,50",30.11.2026\nbob,01.12.2026,nein,"7,00",later\n'
    _, reasons, ada = load(text, locale="de")
    at = datetime(2026, 11, 30, tzinfo=UTC)
    assert (reasons, ada) == ([], {"renews": at, "sms": True, "total": 1234.5, "note": "30.11.2026"})


@pytest.mark.parametrize(
    ("text", "locale", "expected"),
    [
        ("11/30/2026", "en_US", "2026-11-30"),
        ("30/11/2026", "en_GB", "2026-11-30"),
        ("1.2.2026", "de", "2026-02-01"),
        ("1,234.50", "en_US", "1234.50"),
        ("1.234", "de", "1234"),
        ("1 234,50", "fr", "1234.50"),
        ("-5,5", "de", "-5.5"),
        ("oui", "fr", "true"),
        ("No", "en", "false"),
        ("10.5", "de", "10.5"),
        ("01067", "de", "01067"),
        ("hello", "de", "hello"),
    ],
)
def test_text_of_a_locale_becomes_standard(text: str, locale: str, expected: str) -> None:
    """Other text is unchanged."""
    assert to_standard(text, locale) == expected


def test_an_unknown_locale_is_an_error() -> None:
    """The command says how a locale is written."""
    assert check_locale("de-AT") == "de_AT"
    for name in ("xx-", "deutsch!", ""):
        with pytest.raises(InvalidRequest, match="no such locale"):
            check_locale(name)
