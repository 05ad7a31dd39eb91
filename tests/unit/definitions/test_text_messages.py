"""The encoding and the price of text messages, as `check` shows them.

The class of faults: a letter that looks plain and makes every message of a campaign two or three times as dear. The
sizes are those of 3GPP TS 23.038: 160 and 153 letters of GSM 03.38, 70 and 67 of UCS-2.
"""

from typing import Any

import pytest

from definitions.checks.text_messages import TextMessage, about_letters, describe, measure
from definitions.model.campaign import Campaign
from definitions.model.field_errors import validate


def sms(text: str, **changes: Any) -> Campaign:
    """Return a campaign with this text message."""
    trigger = {"sequence": [{"event": "a"}]}
    written = {"id": "c", "name": "C", "targets": "everyone", "trigger": trigger, "channel": "sms"}
    return validate(Campaign, written | ({"content": {"text": text}} if text else {}) | changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 160, TextMessage("GSM-7", 160, 1)),
        ("x" * 161, TextMessage("GSM-7", 161, 2)),
        ("x" * 306, TextMessage("GSM-7", 306, 2)),
        ("x" * 307, TextMessage("GSM-7", 307, 3)),
        ("äöüß@£Ç é\n", TextMessage("GSM-7", 10, 1)),
        ("€" * 80, TextMessage("GSM-7", 160, 1)),
        ("€" * 81, TextMessage("GSM-7", 162, 2)),
        ("x" * 152 + "€" + "x" * 152, TextMessage("GSM-7", 306, 3)),
        ("x" * 69 + "’", TextMessage("UCS-2", 70, 1)),
        ("x" * 159 + "’", TextMessage("UCS-2", 160, 3)),
        ("ç" * 70, TextMessage("UCS-2", 70, 1)),
        ("ж" * 71, TextMessage("UCS-2", 71, 2)),
        ("🥐" * 35, TextMessage("UCS-2", 70, 1)),
        ("🥐" * 36, TextMessage("UCS-2", 72, 2)),
        ("`", TextMessage("UCS-2", 1, 1)),
        ("", TextMessage("GSM-7", 0, 1)),
    ],
)
def test_a_text_is_measured_as_networks_do(text: str, expected: TextMessage) -> None:
    """Letters of the extension take two places, emojis two, and neither is cut between segments."""
    assert measure(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "It’s here" + "x" * 151,
            ["'’' (U+2019)", "70 letters instead of 160", "3 messages instead of 1", "' for '’'"],
        ),
        ("Wait…", ["'…' (U+2026)", "write ... for '…'"]),
        ("5\u00a0%", ["U+00A0", "write a space"]),
        ("Garçon", ["'ç' (U+00E7)"]),
        ("Now 🥐", ["'🥐' (U+1F950)"]),
        ("“Now” – {{ customer.name }}", ["'“' (U+201C), '”' (U+201D), '–' (U+2013) are not"]),
        ("{% if event.x %}a’b{% else %}c{% endif %}", ["U+2019"]),
    ],
)
def test_a_letter_that_makes_messages_dearer_is_named(text: str, parts: list[str]) -> None:
    """The warning has the letter, the room, the price if it changes, and what to write instead."""
    ((field, message),) = about_letters([sms(text)])
    assert field == "campaigns[0].content.text"
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "text", ["It's here", "Größe 42 für 5 €", "Ваш заказ ждёт вас", "{{ event.x | replace: '’', \"'\" }} ok"]
)
def test_other_texts_have_no_warning(text: str) -> None:
    """Neither GSM-7, nor a script that has no other choice, nor letters within Liquid."""
    assert list(about_letters([sms(text)])) == []


def test_every_text_message_is_described() -> None:
    """One line for each content and each variant, and none for other channels."""
    variants = [{"id": "a", "content": {"text": "x" * 161}}, {"id": "b", "content": {"text": "ж"}}]
    lines = list(describe([sms("Hi {{ customer.name }}!"), sms("", variants=variants)]))
    about = "letters without the values of customers"
    assert lines == [
        f"sms c: GSM-7, 4 of 160 {about}, 1 segment(s), the price of 1 message",
        f"sms c, variants[0]: GSM-7, 161 of 160 {about}, 2 segment(s), the price of 2 messages",
        f"sms c, variants[1]: UCS-2, 1 of 70 {about}, 1 segment(s), the price of 1 message",
    ]
