"""One refresh of a site at a time: a lock in the site's row of ``control``, with an owner and an expiry.

    refresh: {number, owner, until, wishes, names, plan, after, done, of}

Everything is written on the condition that the number is still one's own. Who takes over what an owner has left
behind takes a new number, and the collection is renamed to it:

    A holds 7, fills targets_7                  A's function is frozen in the middle of a part
    B sees A's time expire, takes number 8
    B renames targets_7 to targets_8, goes on
    A awakes, its part is still written         ... to targets_7, which nobody will ever read
    A notes how far it is                       refused: the number is 8
    A points readers to 7                       refused too

``names`` are the numbers under which the collection may lie: more than one where an owner died before it had noted
that it had renamed it; then the last one that exists is the one. ``after``, ``done``, ``of``: how far it is.

Wishes are written down before anybody tries to take the lock:

    A holds 7                                   B writes its wish
    A points readers to 7, lets go              B cannot take the lock, and leaves
    A looks for wishes, finds B's, takes 8      (had A let go before, B would have got the lock)
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
    """Somebody else has taken the refresh over: this one was away for too long."""

    code = "refresh_lost"
    retryable = True
    status = 409


class Lease(NamedTuple):
    """A lock that was ours when it was taken. ``control``: the site's row as it was then."""

    database: Database[Document]
    site: str
    number: int
    control: Mapping[str, Any]

    @property
    def state(self) -> Mapping[str, Any]:
        """Return what is written down about the refresh."""
        state: Mapping[str, Any] = self.control["refresh"]
        return state

    def note(self, **changes: Any) -> None:
        """Write *changes* down and stay the owner for another `LEASE_MS`; raises `LeaseLost`."""
        self._update([{"$set": {**{f"refresh.{name}": {"$literal": to} for name, to in changes.items()}, **_lease()}}])

    def switch(self, holds: Mapping[str, str]) -> None:
        """Point readers to our generation, which *holds* these groups, and let go: one step; raises `LeaseLost`."""
        before = {"generation": "$generation", "holds": {"$ifNull": ["$holds", {}]}}
        self._update(
            [
                {
                    "$set": {
                        "previous": {"$cond": [{"$gt": ["$generation", 0]}, before, "$$REMOVE"]},
                        "generation": self.number,
                        "holds": {"$literal": dict(holds)},
                        "refreshed": "$$NOW",
                        "refresh": "$$REMOVE",
                    }
                }
            ]
        )

    def let_go(self) -> None:
        """Give the refresh up; raises `LeaseLost`."""
        self._update([{"$unset": "refresh"}])

    def hand_over(self) -> None:
        """Let whoever comes next go on where we are; raises `LeaseLost`."""
        self._update([{"$set": {"refresh.until": "$$NOW"}}])

    def _update(self, pipeline: list[Document]) -> None:
        mine = {"_id": self.site, "refresh.number": self.number}
        if not self.database.control.update_one(mine, pipeline).matched_count:
            raise LeaseLost(f"the refresh of {self.site} was taken over by another one")


def wish(database: Database[Document], site: str, *wishes: str) -> None:
    """Write down what is wanted of the next refresh of *site*; raises `InvalidRequest` for an unknown one."""
    asked: Document = {f"wishes.{each}": True for each in wishes} or {"ruleset": "$ruleset"}
    if not database.control.update_one({"_id": site, "ruleset": {"$gt": 0}}, [{"$set": asked}]).matched_count:
        raise InvalidRequest(f"nothing was ever published for site {site!r}", code="unknown_site")


def take(database: Database[Document], site: str, owner: str) -> Lease | None:
    """Take the lock, of what is wished for or of what somebody has left; ``None``: there is neither, or no way."""
    free: Document = {"refresh": None, "wishes": {"$exists": True}}
    left: Document = {"$expr": {"$lte": ["$refresh.until", "$$NOW"]}, "refresh": {"$ne": None}}
    fresh = {"wishes": {"$map": {"input": {"$objectToArray": "$wishes"}, "in": "$$this.k"}}}
    names = {"$concatArrays": [{"$ifNull": ["$refresh.names", []]}, ["$reserved"]]}
    control = database.control.find_one_and_update(
        {"_id": site, "$or": [free, left]},
        [
            {"$set": {"reserved": {"$add": [{"$max": ["$reserved", "$generation", 0]}, 1]}}},
            {
                "$set": {
                    "refresh": {
                        "$mergeObjects": [
                            {"$ifNull": ["$refresh", fresh]},
                            {"number": "$reserved", "owner": {"$literal": owner}, "names": names},
                        ]
                    },
                    "wishes": {"$cond": [{"$eq": [{"$type": "$refresh"}, "missing"]}, "$$REMOVE", "$wishes"]},
                }
            },
            {"$set": _lease()},
        ],
        return_document=ReturnDocument.AFTER,
    )
    return None if control is None else Lease(database, site, control["refresh"]["number"], control)


class Running(NamedTuple):
    """A refresh that somebody is at, or has left: ``done`` of about ``of`` users, by an owner until ``until``."""

    number: int
    owner: str
    until: datetime
    done: int
    of: int


def running(database: Database[Document], site: str) -> Running | None:
    """Return the refresh of *site* that is under way, or was left behind; ``None`` where nothing is to be done."""
    control = database.control.find_one({"_id": site}, {"refresh": 1})
    state = (control or {}).get("refresh")
    if state is None:
        return None
    return Running(state["number"], state["owner"], state["until"], state.get("done", 0), state.get("of", 0))


def _lease() -> Document:
    return {"refresh.until": {"$add": ["$$NOW", LEASE_MS]}}
