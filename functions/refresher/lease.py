"""Allow one refresh of a site at a time: a lease in the site's row of ``control``, with an owner and an expiry.

    refresh: {fencing_token, owner, expires, requested, tokens, plan, last_user, users_done, users_total}

Every write is conditional on the fencing token. An owner that takes over an expired lease gets a new token and renames
the collection to it:

    A has token 7, fills targets_7              A's function is paused in the middle of a part
    B sees A's lease expire, takes token 8
    B renames targets_7 to targets_8, goes on
    A wakes up, its part is still written       ... to targets_7, which no reader ever uses
    A records its progress                      rejected: the token is 8
    A points readers to 7                       rejected too

``tokens``: under which of these the collection may exist. There is more than one if an owner died after it renamed the
collection and before it recorded that; the newest one that exists is valid.
``last_user``, ``users_done``, ``users_total``: the progress.

Beside it stands ``retired: [{generation, at}]``: when each generation stopped being the current one.

Requests are stored before anyone tries to acquire the lease:

    A has token 7                               B stores its request
    A points readers to 7, releases the lease   B cannot acquire the lease, and stops
    A looks for requests, finds B's, takes 8    (if A had released it earlier, B would have acquired it)
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pymongo import ReturnDocument
from pymongo.database import Database

from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document

LEASE_MS = 180_000


class LeaseLost(OpportuneError):
    """Another owner took over the refresh, because this one let its lease expire."""

    code = "refresh_lost"
    retryable = True
    status = 409


class Lease(NamedTuple):
    """An acquired lease. ``control``: the site's row at that time."""

    database: Database[Document]
    site: str
    fencing_token: int
    control: Mapping[str, Any]

    @property
    def state(self) -> Mapping[str, Any]:
        """Return what is stored about the refresh."""
        state: Mapping[str, Any] = self.control["refresh"]
        return state

    def record(self, **changes: Any) -> None:
        """Store *changes* and renew the lease for `LEASE_MS`; raise `LeaseLost`."""
        changed = {f"refresh.{name}": {"$literal": value} for name, value in changes.items()}
        self._update([{"$set": {**changed, **_expiry()}}])

    def switch(self, holds: Mapping[str, str]) -> Mapping[str, Any]:
        """Point readers to the new generation and release the lease in one step; return the site's row after it.

        holds: the fingerprint of each target group in the generation.

        Raises `LeaseLost`.
        """
        before = {"generation": "$generation", "holds": {"$ifNull": ["$holds", {}]}}
        retired = [{"generation": "$generation", "at": "$$NOW"}]
        return self._update(
            [
                {
                    "$set": {
                        "retired": {
                            "$concatArrays": [
                                {"$ifNull": ["$retired", []]},
                                {"$cond": [{"$gt": ["$generation", 0]}, retired, []]},
                            ]
                        },
                        "previous": {"$cond": [{"$gt": ["$generation", 0]}, before, "$$REMOVE"]},
                        "generation": self.fencing_token,
                        "holds": {"$literal": dict(holds)},
                        "refreshed": "$$NOW",
                        "refresh": "$$REMOVE",
                    }
                }
            ]
        )

    def release(self) -> None:
        """Give up the refresh and what it has done; raise `LeaseLost`."""
        self._update([{"$unset": "refresh"}])

    def expire(self) -> None:
        """Let the next owner continue this refresh immediately; raise `LeaseLost`."""
        self._update([{"$set": {"refresh.expires": "$$NOW"}}])

    def _update(self, pipeline: list[Document]) -> Mapping[str, Any]:
        own = {"_id": self.site, "refresh.fencing_token": self.fencing_token}
        control = self.database.control.find_one_and_update(own, pipeline, return_document=ReturnDocument.AFTER)
        if control is None:
            raise LeaseLost(f"another process took over the refresh of {self.site}")
        return control


def request_refresh(database: Database[Document], site: str, *requested: str) -> None:
    """Store what the next refresh of *site* must do; raise `InvalidRequest` for an unknown site."""
    changes: Document = {f"requested.{each}": True for each in requested} or {"ruleset": "$ruleset"}
    if not database.control.update_one({"_id": site, "ruleset": {"$gt": 0}}, [{"$set": changes}]).matched_count:
        raise InvalidRequest(f"nothing was ever published for site {site!r}: publish first", code="unknown_site")


def acquire(database: Database[Document], site: str, owner: str) -> Lease | None:
    """Return the lease for a requested or an abandoned refresh; ``None`` if there is neither, or another owner."""
    idle: Document = {"refresh": None, "requested": {"$exists": True}}
    abandoned: Document = {"$expr": {"$lte": ["$refresh.expires", "$$NOW"]}, "refresh": {"$ne": None}}
    new = {"requested": {"$map": {"input": {"$objectToArray": "$requested"}, "in": "$$this.k"}}}
    tokens = {"$concatArrays": [{"$ifNull": ["$refresh.tokens", []]}, ["$reserved"]]}
    control = database.control.find_one_and_update(
        {"_id": site, "$or": [idle, abandoned]},
        [
            {"$set": {"reserved": {"$add": [{"$max": ["$reserved", "$generation", 0]}, 1]}}},
            {
                "$set": {
                    "refresh": {
                        "$mergeObjects": [
                            {"$ifNull": ["$refresh", new]},
                            {"fencing_token": "$reserved", "owner": {"$literal": owner}, "tokens": tokens},
                        ]
                    },
                    "requested": {"$cond": [{"$eq": [{"$type": "$refresh"}, "missing"]}, "$$REMOVE", "$requested"]},
                }
            },
            {"$set": _expiry()},
        ],
        return_document=ReturnDocument.AFTER,
    )
    return None if control is None else Lease(database, site, control["refresh"]["fencing_token"], control)


class RunningRefresh(NamedTuple):
    """A refresh that is running or was abandoned. ``users_total`` is approximate."""

    fencing_token: int
    owner: str
    expires: datetime
    users_done: int
    users_total: int


def read_running(database: Database[Document], site: str) -> RunningRefresh | None:
    """Return the running or abandoned refresh of *site*; ``None`` if there is none."""
    control = database.control.find_one({"_id": site}, {"refresh": 1})
    state = (control or {}).get("refresh")
    if state is None:
        return None
    return RunningRefresh(
        state["fencing_token"],
        state["owner"],
        state["expires"],
        state.get("users_done", 0),
        state.get("users_total", 0),
    )


def _expiry() -> Document:
    return {"refresh.expires": {"$add": ["$$NOW", LEASE_MS]}}
