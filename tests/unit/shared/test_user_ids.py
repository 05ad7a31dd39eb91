"""Ids of users and visitors: one rule for requests, imports and lists.

The class: a value that a program sends in place of an id, so that strangers would become one person. That is the text
of a missing value in any language, an unfilled template, text without a visible character, and a number whose digits
were lost.
"""

from pathlib import Path

import pytest

from definitions.loading import user_list
from definitions.loading.problems import InvalidFiles
from opportune.audiences.customers.rows import Reject, open_rows
from shared.errors import InvalidRequest
from shared.user_ids import read_id, read_user_id
from tests.support.gateway_site import Site, win

NO_ONE = [
    "undefined", "null", "NULL", "NaN", "nan", "None", "nil", "[object Object]", "[object Undefined]", "[OBJECT NULL]",
    "(null)", "<null>", "Infinity", "true", "False", "0", " null ", "00000000-0000-0000-0000-000000000000", "(not set)",
    "{{ user.id }}", "user-${userId}", "<%= current_user.id %>", "%%CUSTOMER_ID%%", "function () { return id }",
    "<User object at 0x7f00deadbeef>", "anonymous", "Guest",
]  # fmt: skip
INVISIBLE = [" ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u200d", "\u2060\u200b", "\u2800", "\u00ad", "\u3164"]
HIDDEN = [
    "anna\u200b",
    "\ufeffanna",
    "an\u00adna",
    "anna\n",
    " anna",
    "\u202eanna",
    "an\x07na",
    "a\x00b",
    "anna\U000e0041",
]
ROUNDED = ["1.23457E+19", "1,23457E+19", "4E+11", "9.9e+30"]
GOOD = [
    "anna", "1234567890123456789012345678", "1e5", "12e45", "0a", "00", "7", "-7", "anna@shop.example", "null-7",
    "O'Neil", "nullarbor", "Nil Andersson", "ren\u00e9", "\u6f22\u5b57", "\U0001f600",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "a b", "{7}", "auth0|5f7c8ec7c33c6c004bbafe82", "8d3e5a8e-0000-0000-0000-000000000000", "x" * 256, "1.5", "E+7",
]  # fmt: skip


@pytest.mark.parametrize("text", [*NO_ONE, *INVISIBLE, *HIDDEN, *ROUNDED])
def test_an_id_that_names_no_one_is_refused(text: str) -> None:
    """The error names the field and says what to do."""
    with pytest.raises(InvalidRequest, match="'userId' ") as refused:
        read_user_id(text, "userId")
    assert refused.value.code == "invalid_user_id"


@pytest.mark.parametrize("text", GOOD)
def test_an_ordinary_id_stays_as_it_is(text: str) -> None:
    """Ids are never changed: not trimmed, not folded, not normalised."""
    assert read_user_id(text, "userId") == text


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (7.0, "7"), (2**53, str(2**53)), (2**63 - 1, str(2**63 - 1)), (None, ""), ("", "")]
)
def test_a_whole_number_is_text(value: object, text: str) -> None:
    """A number keeps all its digits."""
    assert read_id(value, "userId") == text


@pytest.mark.parametrize(
    ("value", "code"),
    [(1.23457e19, "invalid_user_id"), (2.0**53 + 2, "invalid_user_id"), (1.5, "invalid_field"), (True, "invalid_field"),
     ([], "invalid_field"), ({}, "invalid_field"), (0, "invalid_user_id"), ("x" * 257, "invalid_field")],
)  # fmt: skip
def test_a_number_without_all_its_digits_is_no_id(value: object, code: str) -> None:
    """A double beyond 2**53 stands for several numbers."""
    with pytest.raises(InvalidRequest) as refused:
        read_id(value, "anonymousId")
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["undefined", "NaN", "\u200b", "[object Object]", "1.23457E+19", "x" * 257, "anon:x"])
def test_every_way_in_has_the_same_rule(tmp_path: Path, text: str) -> None:
    """A request, an item of a batch, a pixel, a customer file and a list of users refuse the same ids."""
    site = Site()
    assert site.post("/v1/track", win(userId=text))[0] == 400
    assert site.post("/v1/identify", {"userId": text})[0] == 400
    assert site.post("/v1/alias", {"userId": "anna", "previousId": text})[0] == 400
    status, body = site.post("/v1/batch", {"batch": [win(type="track", userId=text), win(type="track")]})
    assert (status, [each["index"] for each in body["rejected"]]) == (200, [0])
    pixel = site.ask("GET", "/v1/pixel/track", query={"writeKey": "public", "userId": text, "event": "x"})
    assert "X-Opportune-Error" in pixel["headers"]
    for name, content in (
        ("c.csv", f'user_id,age\n"{text}",1\nbob,2\n'),
        ("c.ndjson", f'{{"user_id": "{text}", "age": 1}}\n{{"user_id": "bob", "age": 2}}\n'),
    ):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        with open_rows(path, "user_id") as source:
            assert [isinstance(row, Reject) for row in source.rows] == [True, False]
    path = tmp_path / "list.txt"
    path.write_text(f"bob\n{text}\n", encoding="utf-8")
    with pytest.raises(InvalidFiles, match=":2:1: "):
        user_list.read(path)


@pytest.mark.parametrize("text", ["undefined", "null", "\u200b", "0", "{{ anonymous_id }}"])
def test_a_visitor_follows_the_rule_too(text: str) -> None:
    """All visitors would share one row, and the first login would take it."""
    site = Site()
    assert site.post("/v1/track", {"anonymousId": text, "event": "x"})[1]["code"] == "invalid_user_id"
    assert site.post("/v1/identify", {"userId": "anna", "anonymousId": text})[1]["code"] == "invalid_user_id"
