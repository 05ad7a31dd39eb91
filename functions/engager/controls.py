"""What is switched at a site right now: what is paused, and which ruleset and targets are current.

Looked up again every few seconds. Before it could be read for the first time nothing is sent: a pause that
nobody can see must not be passed by.
"""

from typing import NamedTuple

from pymongo.database import Database

from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors
from shared.observability import Observability
from shared.refreshing_cache import RefreshingCache


class Control(NamedTuple):
    """``paused``: ``*``, ``channel:<channel>``, ``campaign:<id>``; ``generation``, ``ruleset``: what is live."""

    paused: frozenset[str] = frozenset()
    generation: int = 0
    ruleset: int = 0

    def stops(self, activation: Activation) -> bool:
        """Return whether a pause concerns *activation*."""
        concerned = ("*", f"channel:{activation.channel}", f"campaign:{activation.campaign}")
        return bool(self.paused) and not self.paused.isdisjoint(concerned)


class Controls:
    """The controls of all sites, at most about *every_s* seconds old."""

    def __init__(
        self, database: Database[Document], *, every_s: int, clock: Clock, observability: Observability
    ) -> None:
        self._polled: RefreshingCache[dict[str, Control]] = RefreshingCache(
            lambda _: load(database),
            every_s=every_s,
            clock=clock,
            on_error=lambda error: observability.logger.error("pauses not refreshed", extra={"code": error.code}),
        )

    def of(self, site: str) -> Control:
        """Return the control of *site*; raises `Unavailable` where none could ever be read."""
        return self._polled.get().get(site, Control())


def load(database: Database[Document]) -> dict[str, Control]:
    """Read the control of every site."""
    with translate_errors():
        rows = list(database.control.find({}, {"paused": 1, "generation": 1, "ruleset": 1}))
    return {
        row["_id"]: Control(frozenset(row.get("paused") or ()), row.get("generation") or 0, row.get("ruleset") or 0)
        for row in rows
    }
