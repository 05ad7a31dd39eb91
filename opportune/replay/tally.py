"""Count the matches of a replay per campaign, in memory that does not grow with their number."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from opportune.replay.engine import Match

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
# Each width is a multiple of the one before, so counts of one width add up to counts of the next.
_WIDTHS = [n * MINUTE_MS for n in (1, 5, 10, 30)] + [n * HOUR_MS for n in (1, 2, 6, 12)]
_WIDTHS += [DAY_MS * n for n in (1, 7, 14, 28)]
_MONDAY = 4 * DAY_MS  # the first Monday of the clock, which began on a Thursday
_MAX_COUNTED = 10_000
_FINE_BITS = 8
_ROUND_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000)
_STEPS = [*_ROUND_MS, *(n * MINUTE_MS for n in (5, 10, 15, 30)), *(n * HOUR_MS for n in (1, 2, 3, 6, 12))]


class Bucket(NamedTuple):
    """The number of ``matches`` from ``start`` up to but not including ``end`` (ms)."""

    start: int
    end: int
    matches: int


class Timeline:
    """Matches by time: per minute, or coarser where minutes would be too many."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._width = _WIDTHS[0]

    def add(self, at: int) -> None:
        """Count a match."""
        self._counts[_floor(at, self._width)] += 1
        if len(self._counts) > _MAX_COUNTED:
            self._width = _wider(self._width)
            self._counts = self._by(self._width)

    def buckets(self, first: int, last: int, most: int) -> list[Bucket]:
        """Return at most *most* buckets from *first* to *last* (ms), empty ones too."""
        width = self._width
        while (_floor(last, width) - _floor(first, width)) // width >= most:
            width = _wider(width)
        counts = self._by(width)
        starts = range(_floor(first, width), _floor(last, width) + 1, width)
        return [Bucket(start, start + width, counts[start]) for start in starts]

    def _by(self, width: int) -> Counter[int]:
        counts: Counter[int] = Counter()
        for start, count in self._counts.items():
            counts[_floor(start, width)] += count
        return counts


class Durations:
    """How long matches took. Up to 10,000 different durations are exact; beyond that, each is within 1 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.longest = 0
        self.is_exact = True

    def add(self, took: int) -> None:
        """Count a match that took *took* ms."""
        self.count += 1
        self.longest = max(self.longest, took)
        self._counts[took if self.is_exact else _coarse(took)] += 1
        if self.is_exact and len(self._counts) > _MAX_COUNTED:
            self.is_exact = False
            exact, self._counts = self._counts, Counter()
            for each, count in exact.items():
                self._counts[_coarse(each)] += count

    def quantile(self, share: float) -> int:
        """Return the duration (ms) that *share* of the matches did not exceed; 0 without matches."""
        wanted, passed = share * self.count, 0
        for took in sorted(self._counts):
            passed += self._counts[took]
            if passed >= wanted:
                return took
        return self.longest

    def buckets(self, most: int) -> list[Bucket]:
        """Return at most *most* buckets of equal width from 0. The last also counts longer durations."""
        if not self.longest:
            return []
        end = self.longest + 1
        usual = self.quantile(0.99) + 1
        if end > 2 * usual:  # otherwise a few long durations would squeeze all others into one bar
            end = usual
        width = next((step for step in _STEPS if step * most >= end), DAY_MS)
        while width * most < end:
            width += DAY_MS
        number = -(-end // width)
        counts = [0] * number
        for took, count in self._counts.items():
            counts[min(took // width, number - 1)] += count
        return [Bucket(n * width, (n + 1) * width, count) for n, count in enumerate(counts)]


@dataclass
class UserMatches:
    """The matches of one user: their number, and the times of the first and the last (ms)."""

    count: int
    first: int
    last: int

    def add(self, count: int, first: int, last: int) -> None:
        """Add *count* matches between *first* and *last*."""
        self.count += count
        self.first = min(self.first, first)
        self.last = max(self.last, last)


@dataclass
class Tally:
    """The matches of one campaign.

    ``absences``: how many of them a deadline completed.
    ``stopped``: how many each gate would stop live.
    """

    matches: int = 0
    absences: int = 0
    stopped: Counter[str] = field(default_factory=Counter)
    users: dict[str, UserMatches] = field(default_factory=dict)
    times: Timeline = field(default_factory=Timeline)
    took: Durations = field(default_factory=Durations)

    def add(self, match: Match, gate: str | None = None) -> None:
        """Count a match that *gate* would stop live."""
        self.matches += 1
        self.absences += match.reason == "absence"
        if gate is not None:
            self.stopped[gate] += 1
        self.times.add(match.at)
        self.took.add(match.at - match.since)
        matched = self.users.get(match.user)
        if matched is None:
            self.users[match.user] = UserMatches(1, match.at, match.at)
        else:
            matched.add(1, match.at, match.at)

    @property
    def latest(self) -> int:
        """The time of the last match (ms); 0 without matches."""
        return max((matched.last for matched in self.users.values()), default=0)

    def most(self) -> list[tuple[str, UserMatches]]:
        """Return the users by number of matches, the largest first; of equals, the earlier one."""
        return sorted(self.users.items(), key=lambda each: (-each[1].count, each[1].first, each[0]))


def width_name(buckets: list[Bucket]) -> str:
    """Return the name of the width of *buckets*: ``minute``, ``10 minutes``, ``hour`` …"""
    width = buckets[0].end - buckets[0].start if buckets else HOUR_MS
    name, size = next(
        (name, size)
        for name, size in (("week", 7 * DAY_MS), ("day", DAY_MS), ("hour", HOUR_MS), ("minute", MINUTE_MS))
        if width % size == 0
    )
    return name if width == size else f"{width // size} {name}s"


def _floor(at: int, width: int) -> int:
    return (at - _MONDAY) // width * width + _MONDAY


def _wider(width: int) -> int:
    return next((each for each in _WIDTHS if each > width), 2 * width)


def _coarse(took: int) -> int:
    shift = max(0, took.bit_length() - _FINE_BITS)
    return took >> shift << shift


def merge_users(tallies: Iterator[Tally]) -> list[tuple[str, UserMatches]]:
    """Return the users of several campaigns by number of matches, the largest first."""
    users: dict[str, UserMatches] = {}
    for tally in tallies:
        for user, matched in tally.users.items():
            if user in users:
                users[user].add(matched.count, matched.first, matched.last)
            else:
                users[user] = UserMatches(matched.count, matched.first, matched.last)
    return Tally(users=users).most()
