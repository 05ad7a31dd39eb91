"""The result of a replay, for the summary and the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from definitions.model.campaign import Campaign
from opportune.replay.tally import Tally


@dataclass
class Span:
    """The times of the first and the last event (ms), and the users."""

    first: int | None = None
    last: int = 0
    users: set[str] = field(default_factory=set)


@dataclass
class Backtest:
    """A finished replay: the campaigns, their matches, and the events they ran over."""

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
