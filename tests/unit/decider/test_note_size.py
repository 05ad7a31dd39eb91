"""What a match keeps of an event is bounded, for every shape of an event's attributes.

The class: one attribute, many, nested or escaped, whose stored form is larger than what was counted.
"""

import random
from typing import Any

import msgspec
import pytest

from decider.activations import Note, write_note
from decider.note_size import MARK, MAX_NOTE_BYTES, shorten

TEXTS = ["x", "ü", "🥐", '"', "\\", "\n", "\x01", "</script>", "日本"]


def size(value: Any) -> int:
    """Return the bytes of *value* in JSON."""
    return len(msgspec.json.encode(value))


@pytest.mark.parametrize("piece", TEXTS)
def test_a_long_text_is_cut_with_a_mark(piece: str) -> None:
    """It keeps as much of its beginning as fits, in whole letters."""
    short = shorten({"name": "anna", "text": piece * 30_000})
    assert short["name"] == "anna"
    assert short["text"].endswith(MARK)
    assert (piece * 30_000).startswith(short["text"].removesuffix(MARK))
    assert MAX_NOTE_BYTES - 20 <= size(short) <= MAX_NOTE_BYTES


def test_what_fits_is_not_touched() -> None:
    """Up to the last byte."""
    fits = {"text": "x" * (MAX_NOTE_BYTES - size({"text": ""}))}
    assert shorten(fits) is fits
    assert shorten({"text": fits["text"] + "x"})["text"].endswith(f"xx{MARK}")


def test_the_longest_values_are_cut() -> None:
    """Two of three texts are too long: they share the room, and the third stays whole."""
    short = shorten({"a": "a" * 10_000, "b": "b" * 300, "c": "c" * 5_000, "n": 7, "yes": True, "none": None})
    assert (short["b"], short["n"], short["yes"], short["none"]) == ("b" * 300, 7, True, None)
    assert abs(len(short["a"]) - len(short["c"])) <= 2
    assert size(short) > MAX_NOTE_BYTES - 20


def test_a_list_keeps_its_first_items_whole() -> None:
    """An order of 1,000 products keeps the first ones."""
    products = [{"name": f"Boots {n}", "price": 129.9, "tags": ["a", "b"]} for n in range(1000)]
    short = shorten({"products": products})["products"]
    assert short[-1] == MARK
    assert len(short) > 20
    assert short[:-1] == products[: len(short) - 1]


def test_a_list_with_one_long_item_keeps_its_beginning() -> None:
    """The item is shortened itself."""
    short = shorten({"products": [{"name": "x" * 30_000, "price": 5}]})["products"]
    assert short[0]["price"] == 5
    assert short[0]["name"].endswith(MARK)
    assert short[1] == MARK


def test_an_object_with_many_members_keeps_the_first() -> None:
    """The mark is a member of its own."""
    short = shorten({"item": {f"key {n}": n for n in range(5000)}})["item"]
    assert short["key 0"] == 0
    assert short[MARK] == MARK
    assert shorten({"item": {"k" * 30_000: 1}}) == {"item": {MARK: MARK}}


def random_value(rng: random.Random, depth: int) -> Any:
    """Return any JSON value."""
    kind = rng.randrange(7 if depth else 5)
    if kind == 5:
        return [random_value(rng, depth - 1) for _ in range(rng.choice([0, 1, 3, 12]))]
    if kind == 6:
        return {
            rng.choice(TEXTS) * rng.choice([1, 3, 400]) + str(n): random_value(rng, depth - 1)
            for n in range(rng.choice([0, 1, 3, 12]))
        }
    simple: list[Any] = [None, True, -(2**63), 1.5e300, rng.choice(TEXTS) * rng.choice([0, 1, 50, 3000])]
    return simple[kind]


def test_every_value_is_bounded_and_keeps_its_type() -> None:
    """Random attributes of any shape, and any room."""
    rng = random.Random(3)
    for _ in range(500):
        value = {f"a{n}": random_value(rng, 2) for n in range(rng.randint(0, 6))}
        room = rng.choice([300, 700, MAX_NOTE_BYTES])
        short = shorten(value, room)
        assert size(short) <= room
        assert list(short) == list(value)
        assert (short == value) == (size(value) <= room)


def test_a_note_is_bounded() -> None:
    """With the longest names that the endpoint takes."""
    note = Note("e" * 256, "m" * 100, 1, 1, history=False, attributes={f"a{n}": "\x01" * 30_000 for n in range(20)})
    assert len(write_note(note).encode()) <= MAX_NOTE_BYTES + 500
