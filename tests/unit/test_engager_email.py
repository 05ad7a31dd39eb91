"""E-mails as bytes: headers that hold, a text part always, exactly one recipient."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from engager.email import compose
from engager.outcome import Undeliverable
from engager.plaintext import plaintext
from shared.ruleset import Sender

SENDER = Sender("hello@shop.example", "Shop")


def composed(content: dict[str, Any], to: Any = "ada@example.com", sender: Sender = SENDER) -> EmailMessage:
    """Return the e-mail as a reader's program parses it."""
    return message_from_bytes(compose("a1", sender, to, content).mime, policy=default)


def test_html_and_text_are_alternatives() -> None:
    """Both parts come, the text first, so that the richest one a reader knows is shown."""
    message = composed({"subject": "S", "html": "<p>Hallo ☀</p>", "text": "Hallo"})
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    html = message.get_body(("html",))
    assert html is not None
    assert html.get_content().strip() == "<p>Hallo ☀</p>"


def test_text_is_derived_from_html() -> None:
    """An e-mail written as HTML alone has a text part all the same."""
    text = composed({"subject": "S", "html": "<p>Hi</p><p><a href='https://x.example/'>Go</a></p>"}).get_body(
        ("plain",)
    )
    assert text is not None
    assert text.get_content().split() == ["Hi", "Go", "(https://x.example/)"]


def test_text_alone_is_a_plain_message() -> None:
    """Without HTML there is nothing to alternate."""
    assert composed({"subject": "S", "text": "Hi"}).get_content_type() == "text/plain"


def test_headers_name_sender_recipient_and_subject() -> None:
    """Names and subjects beyond ASCII arrive as they were written."""
    message = composed({"subject": "Grüße für Ada", "text": "x"}, sender=Sender("hello@shop.example", "Käse, Brot"))
    assert message["Subject"] == "Grüße für Ada"
    assert message["From"].addresses[0].display_name == "Käse, Brot"
    assert message["From"].addresses[0].addr_spec == "hello@shop.example"
    assert message["To"] == "ada@example.com"


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85", "\r\n\r\n"])
def test_line_breaks_cannot_add_headers(break_: str) -> None:
    """A line break in a value that came from a customer is a space in the header."""
    sender = Sender("hello@shop.example", f"Shop{break_}Bcc: all@example.com")
    message = composed({"subject": f"Hi{break_}Bcc: all@example.com", "text": "x"}, sender=sender)
    assert message["Bcc"] is None
    assert message["Subject"] == "Hi Bcc: all@example.com"


@pytest.mark.parametrize(
    "address",
    [
        "nobody",
        "a@b.example, c@d.example",
        "a@b.example\r\nBcc: c@d.example",
        "A <a@b.example>",
        "a b@c.example",
        "@x.example",
        "a@",
        7,
        ["a@b.example"],
        "ä@x.example",
        "a@x..example",
        "a@" + "x" * 70 + ".example",
    ],
)
def test_only_exactly_one_address_is_one(address: Any) -> None:
    """Several addresses, names, breaks and other types are refused, not guessed at."""
    with pytest.raises(Undeliverable) as refused:
        compose("a1", SENDER, address, {"subject": "S", "text": "x"})
    assert refused.value.code == "invalid_address"


def test_a_domain_beyond_ascii_is_encoded() -> None:
    """An address at an internationalised domain is reachable."""
    assert compose("a1", SENDER, "ada@käse.example", {"text": "x"}).to == "ada@xn--kse-qla.example"


@pytest.mark.parametrize(
    ("sender", "to", "code"),
    [
        (None, "a@b.example", "no_sender"),
        (SENDER, None, "no_address"),
        (SENDER, "", "no_address"),
        (Sender("nobody"), "a@b.example", "invalid_sender"),
    ],
)
def test_what_is_missing_has_its_own_reason(sender: Sender | None, to: Any, code: str) -> None:
    """Without a sender or an address nothing is composed."""
    with pytest.raises(Undeliverable) as refused:
        compose("a1", sender, to, {"text": "x"})
    assert refused.value.code == code


def test_everything_is_seven_bit_with_short_lines() -> None:
    """No relay has a reason to re-encode the message, whatever is in it."""
    mime = compose("a1", SENDER, "a@b.example", {"subject": "ü" * 300, "html": "ü" * 5000, "text": "x" * 5000}).mime
    assert mime.isascii()
    assert max(len(line) for line in mime.split(b"\r\n")) <= 998


def test_plaintext_reads_like_the_page() -> None:
    """Blocks become paragraphs, lists get dashes, links their address; styles and scripts vanish."""
    html = (
        "<head><title>T</title><style>p {}</style></head><body><h1>Big  news</h1>"
        "<p>Hello&nbsp;Ada,<br>look &amp; see</p><ul><li>one</li><li>two</li></ul>"
        "<a href='https://x.example/'>https://x.example/</a><script>x()</script><img alt='Logo'></body>"
    )
    assert plaintext(html) == "Big news\n\nHello Ada,\nlook & see\n\n- one\n\n- two\n\nhttps://x.example/Logo\n"
