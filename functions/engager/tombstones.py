"""Tombstones: which users were forgotten. Their activations are recorded under a pseudonym and never delivered.

`MongoTombstones` asks the database each time. `CachedTombstones` answers from memory, for popups, because a browser
waits for those. A tombstone is 16 bytes of a hash and never changes, so the cache only loads new ones.

A popup may be recorded under the user's name in the seconds before the cache sees the tombstone. `opportune forget`
therefore repeats its pass until nothing new appears.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from pymongo.collection import Collection

from engager.ledger.recalls import STATE_LOST
from shared.clock import Clock
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors
from shared.observability import Observability
from shared.refreshing_cache import RefreshingCache
from shared.signing import FORGOTTEN, pseudonym

OVERLAP = timedelta(minutes=1)  # server clocks may differ, and a write may be in progress
EPOCH = datetime.fromtimestamp(0, UTC) + OVERLAP


def pseudonymise(activation: Activation, name: str) -> Activation:
    """Return *activation* suppressed, under the pseudonym *name*, without anything that identifies the user."""
    # A doorbell finds nothing of a forgotten user in the state store: that is not a loss.
    gate = FORGOTTEN if activation.suppressed in (None, STATE_LOST) else activation.suppressed
    return msgspec.structs.replace(activation, user=name, message_id="", attributes={}, per=None, suppressed=gate)


class MongoTombstones:
    """The collection ``forgotten``; ``_id`` is a pseudonym. Raises `Unavailable`."""

    def __init__(self, rows: Collection[Document], secret: str) -> None:
        self._rows = rows
        self._secret = secret

    def has(self, site: str, user: str) -> bool:
        """Return whether *user* was forgotten."""
        with translate_errors():
            return self._rows.find_one({"_id": pseudonym(self._secret, site, user)}, {"_id": 1}) is not None

    def pseudonymise_forgotten(self, activations: Sequence[Activation]) -> list[Activation]:
        """Return *activations*, those of forgotten users pseudonymised. Costs one call for all of them."""
        names = [pseudonym(self._secret, each.site, each.user) for each in activations]
        with translate_errors():
            found = {row["_id"] for row in self._rows.find({"_id": {"$in": names}}, {"_id": 1})} if names else set()
        return [
            pseudonymise(each, name) if name in found else each for each, name in zip(activations, names, strict=True)
        ]


class _Cached(NamedTuple):
    hashes: set[bytes]
    newest: datetime = EPOCH


class CachedTombstones:
    """The tombstones in memory, at most about *every_s* seconds old. Raises `Unavailable` if none were ever read."""

    def __init__(
        self, rows: Collection[Document], secret: str, *, every_s: int, clock: Clock, observability: Observability
    ) -> None:
        self._rows = rows
        self._secret = secret
        self._cache: RefreshingCache[_Cached] = RefreshingCache(
            self._load,
            every_s=every_s,
            clock=clock,
            on_error=lambda error: observability.logger.error("tombstones not refreshed", extra={"code": error.code}),
        )

    def pseudonymise_forgotten(self, activations: Sequence[Activation]) -> list[Activation]:
        """Return the same as `MongoTombstones`, without a call."""
        if not activations:
            return []
        hashes = self._cache.get().hashes
        names = [pseudonym(self._secret, each.site, each.user) if hashes else "" for each in activations]
        return [
            pseudonymise(each, name) if name and _hash(name) in hashes else each
            for each, name in zip(activations, names, strict=True)
        ]

    def _load(self, cached: _Cached | None) -> _Cached:
        known = cached or _Cached(set())
        newest = known.newest
        with translate_errors():
            for row in self._rows.find({"at": {"$gte": newest - OVERLAP}}, {"at": 1}):
                known.hashes.add(_hash(row["_id"]))
                newest = max(newest, row["at"])
        return known._replace(newest=newest)


def _hash(name: str) -> bytes:
    return bytes.fromhex(name.rpartition(":")[2])
