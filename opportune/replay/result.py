"""A finished replay, as those who show it want it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from definitions.model.campaign import Campaign
from opportune.replay.tally import Tally


@dataclass
class Span:
    """From the first to the last event (ms), and the users that there are."""

    first: int | None = None
    last: int = 0
    users: set[str] = field(default_factory=set)


@dataclass
class Backtest:
    """A finished replay: the campaigns with their numbers, and what they were run over."""

    name: str
    campaigns: Sequence[Campaign]
    tallies: Mapping[str, Tally]
    span: Span
    until: int
    events: int
    relevant: int
    duplicates: int

    @property
    def end(self) -> int:
        """The time (ms) of the last event or match."""
        return max(self.span.last, *(tally.latest for tally in self.tallies.values()), 0)
