"""Addresses of customers and hosts, in the one form that providers take.

The class of faults: an address that a provider reads as somebody else's, or refuses without a reason. Domains follow
IDNA 2008 (RFC 5891) with the mapping of UTS 46. Python's codec ``idna`` is IDNA 2003, which reads ß as ss. Each
expected label is that of the registries, see https://www.unicode.org/reports/tr46/ and RFC 5894.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import InvalidAddress, ascii_host, email_address, phone_number

LONG = "ä" * 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ana@example.com", "ana@example.com"),
        ("Ana@EXAMPLE.com", "Ana@example.com"),
        ("ana@straße.example", "ana@xn--strae-oqa.example"),
        ("ana@STRAẞE.EXAMPLE", "ana@xn--strae-oqa.example"),
        ("ana@strasse.example", "ana@strasse.example"),
        ("ana@faß.de", "ana@xn--fa-hia.de"),
        ("ana@βόλος.com", "ana@xn--nxasmm1c.com"),
        ("ana@münchen.de", "ana@xn--mnchen-3ya.de"),
        ("ana@mu\u0308nchen.de", "ana@xn--mnchen-3ya.de"),
        ("ana@MÜNCHEN.DE", "ana@xn--mnchen-3ya.de"),
        ("ana@münchen。de", "ana@xn--mnchen-3ya.de"),
        ("ana@münchen．de", "ana@xn--mnchen-3ya.de"),
        ("ana@münchen｡de", "ana@xn--mnchen-3ya.de"),
        ("ana@ｅｘａｍｐｌｅ.com", "ana@example.com"),
        ("ana@日本語.jp", "ana@xn--wgv71a119e.jp"),
        ("ana@президент.рф", "ana@xn--d1abbgf6aiiy.xn--p1ai"),
        ("ana@نامه\u200cای.com", "ana@xn--mgba3gch31f060k.com"),
        ("ana@xn--strae-oqa.example", "ana@xn--strae-oqa.example"),
        ("ana@XN--STRAE-OQA.münchen.de", "ana@xn--strae-oqa.xn--mnchen-3ya.de"),
        ("ana@example.com.", "ana@example.com"),
        ("ana@straße.example.", "ana@xn--strae-oqa.example"),
        ("\ufeffana@ex\u200bample.com\u00a0", "ana@example.com"),
        ("ana\u2060@exam\u200dple\u00ad.com\u200e", "ana@example.com"),
        ("first.last+tag@example.com", "first.last+tag@example.com"),
    ],
)
def test_an_address_gets_an_ascii_domain(text: str, expected: str) -> None:
    """The part before the @ stays as it is, except for characters that cannot be seen."""
    assert email_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("ana@-ä.de", "ana@ä-.de", "ana@ä..de", "ana@.ä.de", "ana@ä_b.de", "ana@ä b.de", "ana@💩.la", "ana@℀.de"),
        *("ana@\u0301x.de", "ana@xn--ä.de", "ana@a\u200cä.de", "ana@١a.de", f"ana@{LONG}{LONG}.de", "ana@..", "ana@."),
        *(
            f"ana@{LONG}.{LONG}.{LONG}.{LONG}.{LONG}.de",
            f"ana@{'a' * 64}.de",
            f"ana@{'a.' * 130}de",
            f"{'a' * 65}@x.de",
        ),
        *(f"ana@{'a' * 61}.{'b' * 61}.{'c' * 61}.{'d' * 61}.example", "ana@127.0.0.1", "ana@１２７.0.0.1", "ana@[::1]"),
        *("ana", "ana@", "@x.de", "", "\u200b", "a b@x.de", "a@b@x.de", "a..b@x.de", ".a@x.de", "a.@x.de", '"a"@x.de'),
        *("ana@x.de, bob@x.de", "Ana <ana@x.de>", "ana@x.de\r\nBcc: bob@x.de", "ana＠x.de", "ana@x.de/ä"),
    ],
)
def test_what_is_not_one_address_is_refused(text: str) -> None:
    """Labels that IDNA 2008 forbids, parts that are too long, several addresses, and syntax."""
    with pytest.raises(InvalidAddress) as refused:
        email_address(text)
    assert refused.value.code == "invalid_address"


@pytest.mark.parametrize(
    "text", ["jörg@example.com", "用户@例子.广告", "δοκιμή@παράδειγμα.δοκιμή", "a\u0301@x.de", "josé@x.de."]
)
def test_a_local_part_beyond_ascii_has_its_own_reason(text: str) -> None:
    """Such an address is valid (RFC 6531), but SES does not support SMTPUTF8."""
    with pytest.raises(InvalidAddress) as refused:
        email_address(text)
    assert refused.value.code == "no_smtputf8"


@pytest.mark.parametrize("value", [None, 7, 4.5, True, ["ana@x.de"], {"a": 1}, b"ana@x.de"])
def test_other_types_are_refused(value: object) -> None:
    """Attributes have any type."""
    for parse in (email_address, phone_number):
        with pytest.raises(InvalidAddress):
            parse(value)


@given(st.text())
def test_any_text_is_a_host_in_ascii_or_none(text: str) -> None:
    """No text raises an error, and an encoded host stays as it is."""
    host = ascii_host(text)
    assert host is None or (host.isascii() and host == host.lower() and ascii_host(host) == host and len(host) <= 254)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+447911123456", "+447911123456"),
        ("+44 7911 123-456", "+447911123456"),
        ("+44 (7911) 123.456", "+447911123456"),
        ("+49/170\u2011123\u00a04567", "+491701234567"),
        ("\u202a+43 660 1234567\u202c", "+436601234567"),
        ("＋４３６６０１２３４５６７", "+436601234567"),
    ],
)
def test_a_number_is_written_without_separators(text: str, expected: str) -> None:
    """Blanks, brackets, dots, slashes, dashes of any kind, and full-width digits."""
    assert phone_number(text) == expected


@pytest.mark.parametrize("text", ["447911123456", "0660 1234567", "00447911123456", "+0123456789", "+44", "+1" * 9, ""])
def test_a_number_without_a_country_is_refused(text: str) -> None:
    """Without ``+`` and a country the number may be that of another customer."""
    with pytest.raises(InvalidAddress) as refused:
        phone_number(text)
    assert refused.value.code == "invalid_phone"
