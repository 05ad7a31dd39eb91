"""The encoding and the price of text messages: how many segments a network sends and charges for.

GSM 03.38 has 7 bits a letter, so a message has room for 160. One letter beyond it turns the whole message into UCS-2,
which has room for 70. Longer texts are sent in segments of 153 or 67, each at the price of a message. See
https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html and 3GPP TS 23.038.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from definitions.model.campaign import Campaign
from definitions.model.content import SmsContent

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENDED = frozenset("\f^{}\\[~]|€")  # two places each
ALONE = {"GSM-7": 160, "UCS-2": 70}
IN_PARTS = {"GSM-7": 153, "UCS-2": 67}
# What to write instead of letters that word processors put in.
PLAIN = {
    **dict.fromkeys("’‘‚‛′`´", "'"),
    **dict.fromkeys("“”„‟″«»", '"'),
    **dict.fromkeys("–—‐‑−", "-"),
    **dict.fromkeys("\u00a0\u202f\u2009\u3000", "a space"),
    "…": "...",
    "•": "-",
}
MAX_NAMED = 5
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%-?\s*comment.*?endcomment\s*-?%\}|\{%.*?%\}", re.DOTALL)


class TextMessage(NamedTuple):
    """The ``encoding``, the places that a text takes in it, and the ``segments``, each at the price of a message."""

    encoding: str
    places: int
    segments: int


def measure(text: str) -> TextMessage:
    """Return how a network sends *text*."""
    odd = odd_letters(text)
    encoding = "UCS-2" if odd else "GSM-7"
    # UTF-16: a letter beyond the Basic Multilingual Plane, such as an emoji, takes two places.
    sizes = [1 + (ord(each) > 0xFFFF) if odd else 1 + (each in EXTENDED) for each in text]
    if sum(sizes) <= ALONE[encoding]:
        return TextMessage(encoding, sum(sizes), 1)
    segments, used = 1, 0
    for size in sizes:  # a letter of two places is not cut
        if used + size > IN_PARTS[encoding]:
            segments, used = segments + 1, 0
        used += size
    return TextMessage(encoding, sum(sizes), segments)


def odd_letters(text: str) -> list[str]:
    """Return the letters of *text* that GSM 03.38 lacks, each once, in the order of the text."""
    return [each for each in dict.fromkeys(text) if each not in BASIC and each not in EXTENDED]


def text_messages(campaigns: Sequence[Campaign]) -> Iterator[tuple[int, str, str]]:
    """Yield the campaign's number, the field, and the text without Liquid, of each text message."""
    for number, campaign in enumerate(campaigns):
        for field, content in campaign.contents.items():
            if isinstance(content, SmsContent):
                yield number, f"{field}.text", _LIQUID.sub("", content.text).strip()


def describe(campaigns: Sequence[Campaign]) -> Iterator[str]:
    """Yield a line about each text message: encoding, length, segments and price."""
    for number, field, text in text_messages(campaigns):
        found = measure(text)
        price = "the price of 1 message" if found.segments == 1 else f"the price of {found.segments} messages"
        name = campaigns[number].id + ("" if field == "content.text" else f", {field.partition('.')[0]}")
        yield (
            f"sms {name}: {found.encoding}, {found.places} of {ALONE[found.encoding]} letters without the values of "
            f"customers, {found.segments} segment(s), {price}"
        )


def about_letters(campaigns: Sequence[Campaign]) -> Iterator[tuple[str, str]]:
    """Yield a field and a warning for each text message that a few letters make shorter and dearer.

    A text in another script cannot avoid UCS-2, so it gets no warning.
    """
    for number, field, text in text_messages(campaigns):
        odd = odd_letters(text)
        if not odd or (len(odd) > MAX_NAMED and not all(each in PLAIN for each in odd)):
            continue
        plain = measure("".join(each for each in text if each not in odd))
        found = measure(text)
        costs = f": it costs {found.segments} messages instead of {plain.segments}"
        letters = ", ".join(f"'{each}' (U+{ord(each):04X})" for each in odd)
        advice = ", ".join(f"{PLAIN[each]} for '{each}'" for each in odd if each in PLAIN)
        message = (
            f"{letters} {'is' if len(odd) == 1 else 'are'} not in the alphabet of text messages (GSM-7), so a message "
            f"has room for 70 letters instead of 160{costs if found.segments > plain.segments else ''}"
        )
        yield f"campaigns[{number}].{field}", message + (f": write {advice}" if advice else "")
