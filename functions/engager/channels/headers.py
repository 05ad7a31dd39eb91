"""The headers of an e-mail, built from words that are encoded already.

Text of customers and events is text. Python's `email` package decodes ``=?utf-8?q?…?=`` in the values it is given, so
a name could add headers and a body. Here no header is parsed again:

    text ──▶ one line ──▶ words: plain ASCII, or encoded (RFC 2047) ──▶ lines of at most 76 characters

A text that looks like an encoded word is encoded itself, and arrives as it was written.
"""

import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence

Words = Sequence[str]

LINE_LENGTH = 76  # the most that RFC 2047 allows for a line with an encoded word
WORD_LENGTH = 64  # so that the first word fits beside "Subject: "
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
VALUE = re.compile(r"[ -~]*")
ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
UNENCODED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")  # also valid in names
PART = re.compile(r"[^ ]+ ?| ")
JOINER = "\u200d"
VIRAMA = 9  # the combining class of the sign that joins consonants of Indic scripts
JOINERS_AND_VOWELS = frozenset("\u200c\u200d\u0e33\u0eb3")  # the vowels are the AM of Thai and of Lao
SKIN_TONES = range(0x1F3FB, 0x1F400)
FLAG_TAGS = range(0xE0020, 0xE0080)  # of regions, such as Scotland
FLAG_LETTERS = range(0x1F1E6, 0x1F200)  # two of them are a flag
LEADS, VOWELS, TRAILS = range(0x1100, 0x1160), range(0x1160, 0x11A8), range(0x11A8, 0x1200)  # parts of Korean syllables
SYLLABLES = range(0xAC00, 0xD7A4)


def one_line(text: str) -> str:
    """Return *text* with every run of control characters and line breaks as one space, and none at the ends."""
    return CONTROL.sub(" ", text).strip()


def header(name: str, words: Iterable[str]) -> str:
    """Return one header with its line breaks; folded between *words*, which must be ASCII.

    Raises `ValueError` if a word is not printable ASCII.
    """
    lines = [f"{name}:"]
    length = len(lines[0])
    for index, word in enumerate(list(words) or [""]):
        if index and length + 1 + len(word) > LINE_LENGTH:
            lines.append("")
            length = 0
        lines[-1] += f" {word}"
        length += 1 + len(word)
    if not all(VALUE.fullmatch(line) for line in lines):
        raise ValueError("a header has only printable ASCII characters")
    return "".join(f"{line}\r\n" for line in lines)


def text_words(text: str) -> Words:
    """Return *text*, a single line, as the words of a header such as Subject; raises `UnicodeEncodeError`."""
    words = text.split(" ") if text else []
    return words if _is_plain(text, words) else list(_encoded_words(text))


def mailbox_words(name: str, address: str) -> Words:
    """Return *address*, which must be ASCII, with its display *name*, a single line that may be empty.

    Raises `UnicodeEncodeError`.
    """
    return [*_name_words(name), f"<{address}>"] if name else [address]


def _name_words(name: str) -> Words:
    words = name.split(" ")
    if not _is_plain(name, words):
        return list(_encoded_words(name))
    if all(ATOM.fullmatch(word) for word in words):
        return words
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return [f'"{quoted}"'] if len(quoted) < WORD_LENGTH else list(_encoded_words(name))


def _is_plain(text: str, words: Words) -> bool:
    """Return whether every reader understands *text* in the same way without an encoding."""
    fits = all(0 < len(word) <= WORD_LENGTH for word in words)
    return fits and "=?" not in text and VALUE.fullmatch(text) is not None


def _encoded_words(text: str) -> Iterator[str]:
    """Yield *text* as encoded words, in the shorter of both encodings, cut between words or else between letters."""
    data = text.encode()
    as_q = sum(1 if byte in UNENCODED or byte == 0x20 else 3 for byte in data) <= (len(data) + 2) // 3 * 4
    kind, room = ("q", WORD_LENGTH - 12) if as_q else ("b", (WORD_LENGTH - 12) // 4 * 3)  # 12: =?utf-8?q??=

    def size(piece: bytes) -> int:
        return len(_quoted(piece)) if as_q else len(piece)

    word = b""
    for part in PART.findall(text):
        whole = part.encode()
        # Some readers add a space between two encoded words. A cut behind a space does the least harm.
        for piece in [whole] if size(whole) <= room else _letters(part, room):
            if word and size(word) + size(piece) > room:
                yield _encoded(word, kind)
                word = b""
            word += piece
    yield _encoded(word, kind)


def _letters(text: str, room: int) -> Iterator[bytes]:
    """Yield *text* by letters: a character with its accents, an emoji with its modifiers, a flag, a syllable.

    One that is too long for a word is cut between its characters.
    """
    letter = ""
    for character in text:
        if letter and not (_continues(character, letter) and 3 * len((letter + character).encode()) <= room):
            yield letter.encode()
            letter = ""
        letter += character
    if letter:
        yield letter.encode()


def _continues(character: str, letter: str) -> bool:
    """Return whether *character* belongs to *letter*, as in Unicode's rules for grapheme clusters (UAX 29)."""
    previous, code, before = letter[-1], ord(character), ord(letter[-1])
    if character.isascii():
        return False
    return (
        previous == JOINER
        or character in JOINERS_AND_VOWELS
        or code in SKIN_TONES
        or code in FLAG_TAGS
        or unicodedata.category(character).startswith("M")  # accents and variation selectors
        or (unicodedata.combining(previous) == VIRAMA and unicodedata.category(character) == "Lo")
        or (code in FLAG_LETTERS and before in FLAG_LETTERS and len(letter) == 1)
        or (before in LEADS and (code in LEADS or code in VOWELS or code in SYLLABLES))
        or ((before in VOWELS or before in SYLLABLES) and (code in VOWELS or code in TRAILS))
        or (before in TRAILS and code in TRAILS)
    )


def _encoded(word: bytes, kind: str) -> str:
    return f"=?utf-8?{kind}?{_quoted(word) if kind == 'q' else b64encode(word).decode()}?="


def _quoted(word: bytes) -> str:
    return "".join(chr(byte) if byte in UNENCODED else "_" if byte == 0x20 else f"={byte:02X}" for byte in word)
