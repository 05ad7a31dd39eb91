"""messages.lua against a plain list of ids and times: what must be remembered is, and nothing else is.

The class: a message that is sent again must not count again, for as long as a client may retry.
"""

import random
from typing import Any

import pytest
from lupa.lua51 import LuaRuntime

from decider import scripts
from decider.keys import message_digest
from tests.support.rows import ids_of

T0 = 1_790_000_000_000
SECOND, MINUTE = 1000, 60_000
AGE = 15 * MINUTE


class Remembered:
    """The ids that a row remembers."""

    def __init__(self) -> None:
        self.lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self.code = self.lua.execute(scripts.module("messages"))
        self.recent = self.older = b""
        self.largest = 0

    def knows(self, name: str) -> bool:
        """Return whether *name* is remembered."""
        return bool(self.code.is_known(self.recent, self.older, message_digest(name)))

    def add(self, name: str, now: int) -> None:
        """Add *name*."""
        self.recent, self.older, _ = self.code.remember(self.recent, self.older, message_digest(name), now)
        self.largest = max(self.largest, len(self.recent) + len(self.older))


@pytest.fixture(name="row")
def _row() -> Remembered:
    return Remembered()


def test_an_id_is_remembered_among_the_newest_and_for_a_quarter_of_an_hour(row: Remembered) -> None:
    """Random paces, from a batch at one instant to days of silence, against a list; 20,000 events."""
    rng = random.Random(5)
    sent: list[tuple[str, int]] = []
    now = T0
    for n in range(20_000):
        now += rng.choice([0, 0, 0, 0, 1, SECOND, 20 * SECOND, MINUTE] + ([40 * MINUTE] if rng.random() < 0.02 else []))
        for place in {rng.randrange(len(sent)) for _ in range(3)} if sent else ():
            name, at = sent[place]
            if place >= len(sent) - 128 or now - at <= AGE:
                assert row.knows(name), (name, n)
        assert not row.knows(f"m{n}")
        row.add(f"m{n}", now)
        sent.append((f"m{n}", now))
        assert len(ids_of(row.recent)) <= 135


@pytest.mark.parametrize("count", [129, 144, 145, 301, 2_500, 10_000])
def test_a_batch_is_remembered_whole(row: Remembered, count: int) -> None:
    """As many as the API takes in a batch, and four times as many."""
    for n in range(count):
        row.add(f"m{n}", T0)
    assert all(row.knows(f"m{n}") for n in range(count))
    assert not any(row.knows(f"x{n}") for n in range(count))


def test_the_row_of_an_ordinary_user_stays_as_small(row: Remembered) -> None:
    """At an event a minute for a day, ids take no more than 128 whole digests would."""
    for n in range(1440):
        row.add(f"m{n}", T0 + n * MINUTE)
    assert row.older == b""
    assert row.largest <= 128 * 8
    assert len(ids_of(row.recent)) >= 128


def test_the_row_of_a_busy_user_is_bounded_and_shrinks_again(row: Remembered) -> None:
    """100,000 ids in a quarter of an hour leave 10,000. After it, 8 further events leave the newest ones only."""
    for n in range(100_000):
        row.add(f"m{n}", T0 + n * 8)
    assert row.largest <= 10_136 * 7.5
    assert row.knows("m90000")
    for n in range(8):
        row.add(f"later {n}", T0 + 100_000 * 8 + AGE + 2 * SECOND)
    assert row.older == b""
    assert row.knows("m99999")


def test_a_time_of_a_wrong_clock_does_not_stay(row: Remembered) -> None:
    """What was filled two days ahead of the clock goes as what is too old does."""
    for n in range(500):
        row.add(f"m{n}", T0 + 48 * 60 * MINUTE)
    for n in range(160):
        row.add(f"n{n}", T0)
    assert all(row.knows(f"n{n}") for n in range(160))
    assert not any(row.knows(f"m{n}") for n in range(495))


def test_bytes_across_two_ids_or_in_a_time_are_no_id(row: Remembered) -> None:
    """Only whole ids are compared: 7 bytes at any other place do not count."""
    for n in range(2_000):
        row.add(f"m{n}", T0)
    known = ids_of(row.recent) | ids_of(row.older)
    for text in (row.recent, row.older):
        for at in range(0, len(text) - 7, 3):
            piece = text[at : at + 7]
            assert bool(row.code.is_known(row.recent, row.older, piece + b"!")) == (piece in known)


def test_the_ids_of_two_rows_are_remembered_in_one(row: Remembered) -> None:
    """After a login: those of both within 15 minutes, and the newest of each; random sizes and paces."""
    rng = random.Random(7)
    for n in range(60):
        one, other, now = Remembered(), Remembered(), T0
        sent: list[tuple[str, int]] = []
        for k in range(rng.choice([0, 3, 130, 400, 3000])):
            now += rng.choice([0, 1, 20 * SECOND] if n % 2 else [0])
            rng.choice([one, other]).add(f"{n} {k}", now)
            sent.append((f"{n} {k}", now))
        merged: Any = row.code.merge(one.recent, one.older, other.recent, other.older, now)
        row.recent, row.older = merged
        assert all(row.knows(name) for name, at in sent if now - at <= AGE)
        assert len(ids_of(row.recent)) <= 135
        for k in range(200):
            row.add(f"after {n} {k}", now + 10 * MINUTE)
        assert all(row.knows(name) for name, at in sent if now + 10 * MINUTE - at <= AGE)


def test_results_are_bounded_by_bytes_and_the_newest_stays(row: Remembered) -> None:
    """The oldest go first. One that alone is over the bound is kept until the next."""
    results = b""
    for n in range(100):
        results = row.code.add_result(results, message_digest(f"m{n}"), bytes([n]) * 1000)
        assert len(results) <= 32_768
        assert row.code.result(results, message_digest(f"m{n}")) == bytes([n]) * 1000
    assert row.code.result(results, message_digest("m60")) is None
    assert row.code.result(results, message_digest("m75")) == bytes([75]) * 1000
    results = row.code.add_result(results, message_digest("large"), b"x" * 70_000)
    assert row.code.result(results, message_digest("large")) == b"x" * 70_000
    assert row.code.result(results, message_digest("m99")) is None
    results = row.code.add_result(results, message_digest("next"), b"y")
    assert len(results) == 8 + 3 + 1
