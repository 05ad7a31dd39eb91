"""Who is forgotten, kept in memory: for popups, whose answer a browser waits for.

A tombstone is 16 bytes of a hash and never changes, so only the new ones are looked up, every few seconds. A popup in
these seconds is written with the name: `opportune forget` looks again until nothing comes after it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pymongo.collection import Collection

from engager.forget import nameless
from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors
from shared.observability import Observability
from shared.refreshing_cache import RefreshingCache
from shared.signing import pseudonym

OVERLAP = timedelta(minutes=1)  # two servers' clocks may differ, and a write may be under way
EPOCH = datetime.fromtimestamp(0, UTC) + OVERLAP


class _Known(NamedTuple):
    hashes: set[bytes]
    newest: datetime = EPOCH


class Tombstones:
    """The tombstones in *rows*, at most about *every_s* seconds old; raises `Unavailable` where none could be read."""

    def __init__(
        self, rows: Collection[Document], secret: str, *, every_s: int, clock: Clock, observability: Observability
    ) -> None:
        self._rows = rows
        self._secret = secret
        self._known: RefreshingCache[_Known] = RefreshingCache(
            self._load,
            every_s=every_s,
            clock=clock,
            on_error=lambda error: observability.logger.error("tombstones not refreshed", extra={"code": error.code}),
        )

    def without_names(self, activations: Sequence[Activation]) -> list[Activation]:
        """Return *activations* as `engager.forget.Forgotten` does, without a call."""
        if not activations:
            return []
        hashes = self._known.get().hashes
        names = [pseudonym(self._secret, each.site, each.user) if hashes else "" for each in activations]
        return [
            nameless(each, name) if name and _hash(name) in hashes else each
            for each, name in zip(activations, names, strict=True)
        ]

    def _load(self, present: _Known | None) -> _Known:
        known = present or _Known(set())
        newest = known.newest
        with translate_errors():
            for row in self._rows.find({"at": {"$gte": newest - OVERLAP}}, {"at": 1}):
                known.hashes.add(_hash(row["_id"]))
                newest = max(newest, row["at"])
        return known._replace(newest=newest)


def _hash(name: str) -> bytes:
    return bytes.fromhex(name.rpartition(":")[2])
