"""E-mails as bytes: injection-safe headers, always a text part, exactly one recipient."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest

from engager.channels.mime import Mail, compose
from engager.channels.plaintext import plaintext
from engager.ledger.states import Undeliverable
from shared.contracts import Activation
from shared.ruleset import Sender

SENDER = Sender("hello@shop.example", "Shop")
URL = "https://abcdefghij.execute-api.eu-central-1.amazonaws.com/unsubscribe/" + "dG9rZW4_-" * 20


def mail(content: dict[str, Any], to: Any = "ada@example.com", sender: Sender | None = SENDER, url: str = URL) -> Mail:
    """Return the e-mail of an activation."""
    activation = Activation("a1", "shop", "ada", "cart", 1, "email", 0, "Order", "m1")
    return compose(activation, sender, to, content, url)


def composed(content: dict[str, Any], to: Any = "ada@example.com", sender: Sender = SENDER) -> EmailMessage:
    """Return the e-mail as a mail program parses it."""
    return message_from_bytes(mail(content, to, sender).mime, policy=default)


def part(message: EmailMessage, kind: str) -> str:
    """Return the text of the part *kind*, html or plain."""
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_html_and_text_are_alternatives() -> None:
    """The text part comes first, so that mail programs show the richest part that they support."""
    message = composed({"subject": "S", "html": f"<p>Hallo ☀ {URL}</p>", "text": "Hallo"})
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert part(message, "html").strip() == f"<p>Hallo ☀ {URL}</p>"


def test_text_is_derived_from_html() -> None:
    """An e-mail with HTML only gets a text part."""
    message = composed({"subject": "S", "html": "<p>Hi</p><p><a href='https://x.example/'>Go</a></p>"})
    assert part(message, "plain").split() == ["Hi", "Go", "(https://x.example/)", "Unsubscribe", f"({URL})"]


def test_text_alone_is_a_plain_message() -> None:
    """Without HTML there are no alternatives."""
    assert composed({"subject": "S", "text": "Hi"}).get_content_type() == "text/plain"


def test_headers_name_sender_recipient_and_subject() -> None:
    """Non-ASCII names and subjects arrive unchanged."""
    message = composed({"subject": "Grüße für Ada", "text": "x"}, sender=Sender("hello@shop.example", "Käse, Brot"))
    assert message["Subject"] == "Grüße für Ada"
    assert message["From"].addresses[0].display_name == "Käse, Brot"
    assert message["From"].addresses[0].addr_spec == "hello@shop.example"
    assert message["To"] == "ada@example.com"


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85", "\r\n\r\n"])
def test_line_breaks_cannot_add_headers(break_: str) -> None:
    """A line break in a customer's value becomes a space in the header."""
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
        "a@x..example",
        "a@" + "x" * 70 + ".example",
    ],
)
def test_only_exactly_one_address_is_one(address: Any) -> None:
    """Several addresses, display names, line breaks and other types are refused."""
    with pytest.raises(Undeliverable) as refused:
        mail({"subject": "S", "text": "x"}, address)
    assert refused.value.code == "invalid_address"


def test_a_domain_beyond_ascii_is_encoded() -> None:
    """An address at an internationalised domain is encoded as IDNA 2008 says: straße is not strasse."""
    assert mail({"text": "x"}, "ada@käse.example").to == "ada@xn--kse-qla.example"
    assert mail({"text": "x"}, "ana@straße.example").to == "ana@xn--strae-oqa.example"
    assert b"To: ana@xn--strae-oqa.example\r\n" in mail({"text": "x"}, "ana@straße.example").mime


def test_answers_go_to_the_address_for_them() -> None:
    """A site whose sender has `reply_to` gets one more header, and every other header is as always."""
    plain = composed({"subject": "S", "text": "x"})
    replied = composed({"subject": "S", "text": "x"}, sender=Sender("hello@shop.example", "Shop", "hilfe@käse.example"))
    assert replied["Reply-To"] == "hilfe@xn--kse-qla.example"
    assert [name for name in replied if name != "Reply-To"] == list(plain)
    with pytest.raises(Undeliverable) as refused:
        mail({"text": "x"}, sender=Sender("hello@shop.example", "Shop", "a@b.example\r\nBcc: c@d.example"))
    assert refused.value.code == "invalid_sender"


@pytest.mark.parametrize(
    ("sender", "to", "code"),
    [
        (None, "a@b.example", "no_sender"),
        (SENDER, None, "no_address"),
        (SENDER, "", "no_address"),
        (Sender("nobody"), "a@b.example", "invalid_sender"),
        (SENDER, "jörg@b.example", "no_smtputf8"),
        (SENDER, "用户@例子.广告", "no_smtputf8"),
    ],
)
def test_each_missing_part_has_its_own_reason(sender: Sender | None, to: Any, code: str) -> None:
    """No e-mail is composed without a sender and a valid address."""
    with pytest.raises(Undeliverable) as refused:
        mail({"text": "x"}, to, sender)
    assert refused.value.code == code


def test_everything_is_seven_bit_with_short_lines() -> None:
    """No relay has a reason to re-encode the message, whatever its content."""
    mime = mail({"subject": "ü" * 300, "html": "ü" * 5000, "text": "x" * 5000}).mime
    assert mime.isascii()
    assert max(len(line) for line in mime.split(b"\r\n")) <= 998


def test_plaintext_reads_like_the_page() -> None:
    """Blocks become paragraphs, list items get dashes, links get their URL; styles and scripts disappear."""
    html = (
        "<head><title>T</title><style>p {}</style></head><body><h1>Big  news</h1>"
        "<p>Hello&nbsp;Ada,<br>look &amp; see</p><ul><li>one</li><li>two</li></ul>"
        "<a href='https://x.example/'>https://x.example/</a><script>x()</script><img alt='Logo'></body>"
    )
    assert plaintext(html) == "Big news\n\nHello Ada,\nlook & see\n\n- one\n- two\n\nhttps://x.example/Logo\n"


def test_mail_programs_get_a_one_click_unsubscribe_link() -> None:
    """Both headers of RFC 8058 are present, each on one line and unencoded, however long the URL is."""
    lines = mail({"subject": "S", "text": "x"}).mime.split(b"\r\n")
    assert f"List-Unsubscribe: <{URL}>".encode() in lines
    assert b"List-Unsubscribe-Post: List-Unsubscribe=One-Click" in lines
    message = composed({"subject": "S", "text": "x"})
    assert message["List-Unsubscribe"] == f"<{URL}>"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>Hi</p>", "<p>Hi</p>LINK"),
        ("<html><body><p>Hi</p></body></html>", "<html><body><p>Hi</p>LINK</body></html>"),
        ("<HTML><BODY>Hi</BODY\n></HTML>", "<HTML><BODY>HiLINK</BODY\n></HTML>"),
        ("<p>Hi</p></html>", "<p>Hi</p>LINK</html>"),
        (f"<a href='{URL}'>No more</a>", f"<a href='{URL}'>No more</a>"),
    ],
)
def test_html_shows_an_unsubscribe_link(html: str, expected: str) -> None:
    """HTML without the link gets one at its end; HTML that has it is unchanged."""
    link = f'<p style="font-size:12px"><a href="{URL}">Unsubscribe</a></p>'
    content = part(composed({"subject": "S", "html": html, "text": f"x {URL}"}), "html")
    assert content.rstrip("\n") == expected.replace("LINK", link)


def test_plain_text_shows_it_too() -> None:
    """A text part without the link gets one line with it."""
    assert part(composed({"subject": "S", "text": "Hi\n\n"}), "plain").split("\n") == [
        "Hi",
        "",
        f"Unsubscribe: {URL}",
        "",
    ]
    assert part(composed({"subject": "S", "text": f"Stop: {URL}"}), "plain") == f"Stop: {URL}\n"
    both = composed({"subject": "S", "html": "<p>Hi</p>", "text": "Hi"})
    assert part(both, "plain").count(URL) == part(both, "html").count(URL) == 1


def test_a_link_that_is_too_long_for_a_line_is_refused() -> None:
    """Lines of an e-mail have a maximum length, and no e-mail may be sent without the header."""
    with pytest.raises(Undeliverable) as refused:
        mail({"text": "x"}, url="https://x.example/" + "y" * 950)
    assert refused.value.code == "long_url"
    longest = "https://x.example/" + "y" * 932
    assert max(len(line) for line in mail({"text": "x"}, url=longest).mime.split(b"\r\n")) <= 998


def test_tags_have_only_characters_that_ses_accepts() -> None:
    """Activation, campaign and site are tags of every e-mail, in characters that SES allows."""
    assert mail({"text": "x"}).tags == {"activation_id": "a1", "campaign": "cart", "site": "shop"}
    odd = Activation("a:1/ü", "s h", "u", "c" * 300, 1, "email", 0, "Order", "m1")
    tags = compose(odd, SENDER, "ada@example.com", {"text": "x"}, URL).tags
    assert tags == {"activation_id": "a_1__", "campaign": "c" * 256, "site": "s_h"}
