"""The controls of every site: its pauses, and the ruleset and targets that are live. Refreshed every few seconds.

Popups obey these pauses, because a browser waits. Messages read theirs right before they are sent (`send_blocks`).

Nothing is sent until the controls were read once. A pause that cannot be read must still hold.
"""

from typing import NamedTuple

from pymongo.database import Database

from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors
from shared.observability import Observability
from shared.refreshing_cache import RefreshingCache


class Control(NamedTuple):
    """The controls of one site.

    ``paused``: any of ``*``, ``channel:<channel>`` and ``campaign:<id>``.
    ``generation``: of the live targets; 0 before the first refresh.
    ``ruleset``: the live version; 0 before the first one.
    """

    paused: frozenset[str] = frozenset()
    generation: int = 0
    ruleset: int = 0

    def pauses(self, activation: Activation) -> bool:
        """Return whether a pause covers *activation*."""
        covering = ("*", f"channel:{activation.channel}", f"campaign:{activation.campaign}")
        return bool(self.paused) and not self.paused.isdisjoint(covering)


class Controls:
    """The controls of all sites, at most about *every_s* seconds old."""

    def __init__(
        self, database: Database[Document], *, every_s: int, clock: Clock, observability: Observability
    ) -> None:
        self._cache: RefreshingCache[dict[str, Control]] = RefreshingCache(
            lambda _: load_controls(database),
            every_s=every_s,
            clock=clock,
            on_error=lambda error: observability.logger.error("controls not refreshed", extra={"code": error.code}),
        )

    def of(self, site: str) -> Control:
        """Return the controls of *site*; raises `Unavailable` if none were ever read."""
        return self._cache.get().get(site, Control())

    def reload(self, site: str) -> Control:
        """Read the controls again and return those of *site*; raises `Unavailable`."""
        return self._cache.reload().get(site, Control())


def load_controls(database: Database[Document]) -> dict[str, Control]:
    """Read the controls of every site; raises `Unavailable`."""
    with translate_errors():
        rows = list(database.control.find({}, {"paused": 1, "generation": 1, "ruleset": 1}))
    return {
        row["_id"]: Control(frozenset(row.get("paused") or ()), row.get("generation") or 0, row.get("ruleset") or 0)
        for row in rows
    }
