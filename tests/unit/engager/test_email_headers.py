"""Text in headers of e-mails is text: it adds no header, changes no other one, and arrives as it was written.

The classes of faults:

- Text of customers, events or the site that a header's builder, a relay or a reader takes for syntax.
- Text that loses or gains a space, or half a letter, where a header is encoded in several words, or only in part.

Two parsers of the standard library read each e-mail, and a third one that is written here.
"""

import base64
import json
import os
import quopri
import random
import re
import subprocess
import sys
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engager.channels.headers import header, mailbox_words, one_line, text_words
from engager.channels.mime import compose
from engager.ledger.states import Undeliverable
from shared.contracts import Activation
from shared.ruleset import Sender
from tests.support.hostile_text import HOSTILE, NOT_UNICODE
from tests.support.paths import ROOT

URL = "https://shop.example/unsubscribe/dG9rZW4_-"
HEADERS = [
    "From",
    "To",
    "Subject",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
]
WORD = re.compile(r"=\?utf-8\?([qb])\?([!->@-~]*)\?=")
PIECES = st.sampled_from(
    ["=?", "?=", "=?utf-8?q?", "=0A", "=0D=0A", "?q?", " ", "  ", "\r\n", "\n ", "🥐", "ß", "é", '"']
)
# Sentences as campaigns have them: words with and without accents, symbols, emojis, and every kind of space.
SENTENCE = (
    "Größe 42 ist wieder da: schön früh Ihre Bestellung über déjà vu ça été l’été « prêt » – 50 % naïf noël 🥐 👍🏽 🇦🇹 "
    '👩\u200d💻 \u1112\u1161\u11ab 각 क्षि น้ำ e\u0301 ＝？ =? ?= _ a_b = (neu) "x" <b> a@b.example \u200b'
)
WORDS = st.sampled_from(SENTENCE.split())
SPACES = st.sampled_from([" ", " ", " ", "  ", "   ", "\u00a0", "\u3000", "\u2009"])
SENTENCES = st.lists(st.tuples(WORDS, SPACES), min_size=1, max_size=16).map(
    lambda pairs: "".join(word + space for word, space in pairs).strip()
)
TEXTS = st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=12).map("".join)


def mime(subject: str, name: str = "Shop") -> bytes:
    """Return an e-mail with *subject* from *name*."""
    activation = Activation("a1", "shop", "ada", "cart", 1, "email", 0, "Order", "m1")
    content = {"subject": subject, "text": "Hello"}
    return compose(activation, Sender("hello@shop.example", name), "ada@example.com", content, URL).mime


def decoded(value: str) -> str:
    """Return an unfolded header decoded by the letter of RFC 2047, independently of Python's `email`."""
    words = value.split(" ")
    found = [WORD.fullmatch(word) for word in words]
    if not all(found):
        assert "=?" not in value
        return value
    data = b""
    for word in found:
        assert word is not None
        assert len(word[0]) <= 75
        raw = quopri.decodestring(word[2], header=True) if word[1] == "q" else base64.b64decode(word[2], validate=True)
        raw.decode()  # every word is whole letters
        data += raw
    return data.decode()


def assert_constant(mime: bytes) -> dict[str, str]:
    """Assert that the e-mail has exactly the expected headers and body; return its raw headers, unfolded."""
    assert mime.isascii()
    head, _, body = mime.partition(b"\r\n\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]", head)
    assert all(len(line) <= 76 for line in head.split(b"\r\n") if b"=?" in line)
    raw = dict(line.split(": ", 1) for line in re.sub(r"\r\n(?= )", "", head.decode()).split("\r\n"))
    assert list(raw) == HEADERS
    assert body == f"Hello\r\n\r\nUnsubscribe: {URL}\r\n".encode()
    for each in (policy.compat32, policy.default):
        message: Any = message_from_bytes(mime, policy=each)
        assert message.keys() == HEADERS
        assert not message.defects
        assert message["To"] == "ada@example.com"
        assert message["List-Unsubscribe"] == f"<{URL}>"
    return raw


def assert_arrives(subject: str, expected: str) -> None:
    """Assert that three parsers read *expected* from an e-mail with *subject*."""
    made = mime(subject)
    raw = assert_constant(made)["Subject"]
    assert decoded(raw) == expected
    assert str(make_header(decode_header(raw))) == expected
    assert message_from_bytes(made, policy=policy.default)["Subject"] == expected


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_subject_arrives_as_text(text: str) -> None:
    """The subject is the text on one line, and every other header and the body are as always."""
    assert_arrives(text, one_line(text))
    assert_arrives(f"Hi {text}!", one_line(f"Hi {text}!"))


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_sender_name_arrives_as_text(text: str) -> None:
    """The display name of the sender is encoded by the same function, and the address stays the sender's."""
    made = mime("Hello", text)
    raw = assert_constant(made)["From"]
    assert raw.endswith("hello@shop.example>" if one_line(text) else "hello@shop.example")
    message = message_from_bytes(made, policy=policy.default)
    (address,) = message["From"].addresses
    assert address.addr_spec == "hello@shop.example"
    name = raw.removesuffix("<hello@shop.example>").removesuffix("hello@shop.example").strip()
    if "=?" in name:
        assert decoded(name) == one_line(text)
    else:
        assert address.display_name == one_line(text)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_any_subject_arrives_as_text(text: str) -> None:
    """Whatever the text, the names and the number of headers are constant, and the subject decodes to the text."""
    assert_arrives(text, one_line(text))


@settings(max_examples=400, deadline=None)
@given(SENTENCES)
def test_any_sentence_arrives_with_every_space_and_letter(text: str) -> None:
    """As a subject and as a display name, wherever the cuts between the encoded words are."""
    assert_arrives(text, one_line(text))
    raw = assert_constant(mime("Hello", text))["From"]
    name = raw.removesuffix(" <hello@shop.example>")
    shown = str(make_header(decode_header(parseaddr(raw)[0])))
    assert shown == one_line(text)
    assert (decoded(name) if "=?" in name else shown) == one_line(text)


@pytest.mark.parametrize(
    "subject",
    [
        "Größe 42 ist wieder da: 🥐 🥐 schön früh 🥐 🥐",
        "Größe  42   ist    wieder da: 🥐  🥐 schön früh",
        "🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐 🥐",
        "Votre commande n’est pas terminée : il reste 2 articles à déjà -50 % réservés",
        "Ваш заказ ждёт: 3 товара в корзине, скидка до завтра",
        "カートに商品が 3 点 残っています。お早めにどうぞ 🎉",
        "שלום 5 פריטים ממתינים לך בעגלה היום",
    ],
)
def test_sentences_in_many_languages_arrive(subject: str) -> None:
    """A subject, and a sender of that name, with the spaces between emojis, accents and digits."""
    assert_arrives(subject, subject)
    raw = assert_constant(mime("Hello", subject))["From"]
    assert decoded(raw.removesuffix(" <hello@shop.example>")) == subject


@pytest.mark.parametrize(
    "name", ["Müller & Söhne", "Café “Chez Zoë”", "Größe 42 🥐", "Ölmühle GmbH, Wien", "東京ストア"]
)
def test_a_usual_sender_name_needs_one_word(name: str) -> None:
    """Python before 3.13.2 shows a space between two encoded words of a name, so a name that fits is one word."""
    made = mime("Hello", name)
    assert assert_constant(made)["From"].count("=?utf-8?") == 1
    (address,) = message_from_bytes(made, policy=policy.default)["From"].addresses
    assert address.display_name == name


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_any_sender_name_leaves_the_address_alone(text: str) -> None:
    """Whatever the name, there is one sender, and it is the site's."""
    made = mime("Hello", text)
    assert_constant(made)
    assert [each.addr_spec for each in message_from_bytes(made, policy=policy.default)["From"].addresses] == [
        "hello@shop.example"
    ]


@pytest.mark.parametrize("text", NOT_UNICODE.values(), ids=list(NOT_UNICODE))
def test_what_cannot_be_encoded_is_refused_with_its_reason(text: str) -> None:
    """Half a surrogate pair ends the activation, wherever it is; it is not retried."""
    with pytest.raises(Undeliverable) as refused:
        mime(text)
    assert refused.value.code == "template_error"
    with pytest.raises(Undeliverable) as refused:
        mime("Hello", text)
    assert refused.value.code == "invalid_sender"


def test_a_subject_without_end_is_refused() -> None:
    """Providers refuse headers of any length; the reason is clear before one is asked."""
    with pytest.raises(Undeliverable) as refused:
        mime("x" * 10_001)
    assert refused.value.code == "long_subject"


@pytest.mark.parametrize(
    "url", ["https://x.example/a b", "https://x.example/>", "https://x.example/\r\nBcc: a", "/ü", ""]
)
def test_a_link_that_is_not_a_url_is_refused(url: str) -> None:
    """The unsubscribe link is put between angle brackets, so it must not end them, nor the line."""
    activation = Activation("a1", "shop", "ada", "cart", 1, "email", 0, "Order", "m1")
    with pytest.raises(Undeliverable) as refused:
        compose(activation, Sender("hello@shop.example"), "ada@example.com", {"text": "x"}, url)
    assert refused.value.code == "invalid_url"


def test_plain_text_stays_readable() -> None:
    """ASCII is not encoded, only folded at spaces, and quoted where the grammar of addresses needs it."""
    assert header("Subject", text_words("Your cart is waiting")) == "Subject: Your cart is waiting\r\n"
    folded = header("Subject", text_words("word " * 30 + "end"))
    assert "=?" not in folded
    assert max(map(len, folded.split("\r\n"))) <= 76
    assert mailbox_words("Ada & Bob", "a@b.example") == ["Ada", "&", "Bob", "<a@b.example>"]
    assert mailbox_words("Bread, Inc.", "a@b.example") == ['"Bread, Inc."', "<a@b.example>"]
    assert mailbox_words("", "a@b.example") == ["a@b.example"]


def test_a_header_of_anything_but_printable_ascii_is_refused() -> None:
    """The last check, in case a word was not made by the functions of this module."""
    for word in ("a\r\nBcc: b", "ü", "a\x00", "a\tb"):
        with pytest.raises(ValueError, match="printable ASCII"):
            header("Subject", [word])


def test_letters_are_not_cut() -> None:
    """An accent stays with its letter and a modifier with its emoji, because some readers show each word alone."""
    letters = ["e\u0301", "👍🏽", "👩\u200d💻", "ё", "🇦🇹", "1\ufe0f\u20e3", "각", "\u1112\u1161\u11ab", "क्षि", "น้ำ"]
    letters.append("🏴" + "".join(chr(0xE0000 + ord(each)) for each in "gbsct") + "\U000e007f")
    for letter in letters:
        for word in text_words("ü" + letter * 60):
            assert (decoded(word).removeprefix("ü")) in {letter * count for count in range(61)}


def test_words_are_cut_behind_a_space_if_possible() -> None:
    """A reader that shows a space between two encoded words does not show it within one of the sentence's words."""
    words = [decoded(word) for word in text_words("Größe 42 ist wieder da, schön früh und für ein paar Tage günstiger")]
    assert len(words) > 1
    assert all(word.endswith(" ") for word in words[:-1])


def _interpreters() -> list[Path]:
    """Return the Pythons of this machine other than this one that have `email` as Lambda's has it."""
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if "shims" not in entry]
    folders += sorted((Path.home() / ".pyenv" / "versions").glob("3.1[23].*/bin"), reverse=True)
    found: dict[str, Path] = {}
    for version in ("3.13", "3.12"):
        for folder in folders:
            if (folder / f"python{version}").exists():
                found.setdefault(version, folder / f"python{version}")
    return list(found.values())


def _random_sentences(number: int) -> list[str]:
    """Return sentences, the same in every run."""
    chance, words = random.Random(14), SENTENCE.split()
    return [" ".join(chance.choices(words, k=chance.randint(1, 14))) for _ in range(number)]


OTHER_PYTHON = """
import json, sys
sys.path.insert(0, sys.argv[1])
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from engager.channels.headers import header, one_line, text_words
for text in json.load(sys.stdin):
    made = header("Subject", text_words(one_line(text))).encode() + b"X-End: 1\\r\\n\\r\\n"
    message = message_from_bytes(made, policy=policy.default)
    assert message.keys() == ["Subject", "X-End"], (text, made)
    assert message["Subject"] == one_line(text), (text, made, message["Subject"])
    raw = message_from_bytes(made)["Subject"]
    assert str(make_header(decode_header(raw))) == one_line(text), (text, made)
"""


@pytest.mark.parametrize("python", _interpreters() or [Path(sys.executable)], ids=lambda path: str(path.name))
def test_other_pythons_build_and_read_the_same(python: Path) -> None:
    """The deployed Python is newer than the oldest supported one, and their `email` packages differ."""
    texts = [*HOSTILE.values(), *_random_sentences(2000)]
    command = [str(python), "-I", "-c", OTHER_PYTHON, str(ROOT / "functions")]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
