"""Make the next generation of a site's targets, inside MongoDB; no customer comes to Python.

    wish ─▶ take the lock, number n ─▶ plan ─▶ part after part to targets_<site>_<n> ─▶ control: generation → n

Readers follow the pointer in ``control``, so they never see half a list. The generation before is kept: a reader
that has just read the pointer still finds what it points to, and there is a way back. Who dies half-way, or has no
time left, leaves a lock that expires and a note of how far it came; the next one goes on from there.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import msgspec
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from refresher import lease as holding
from refresher import parts
from refresher.lease import Lease
from refresher.parts import Source
from refresher.plan import Plan, plan
from shared import mongodb
from shared.clock import Clock
from shared.errors import InvalidDefinition, OpportuneError
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import TargetGroup

STALE_MS = 6 * 3_600_000
Progress = Callable[[int, int], None]


class Refreshed(NamedTuple):
    """A new generation: how many users are in it, and for which groups they were looked for anew.

    ``kept``: groups that were taken over as they were.
    """

    generation: int
    users: int
    found: tuple[str, ...]
    kept: tuple[str, ...] = ()


class Way(NamedTuple):
    """How a refresh goes about it.

    ``owner``: who it is, for people. ``clock``: what relative dates count from. ``may_go_on``: asked before every
    part but the first whether there is time for another. ``progress``: told of users passed, and of about how many.
    ``part``: users of one part.
    """

    owner: str
    clock: Clock
    may_go_on: Callable[[], bool] = lambda: True
    progress: Progress = lambda _done, _of: None
    part: int = parts.PART


class End(StrEnum):
    """How a refresh ended: all was done, there was no time left, or another one is at it and sees to ours too."""

    DONE = "done"
    NO_TIME = "no_time"
    ELSEWHERE = "elsewhere"


class Outcome(NamedTuple):
    """What a refresh came to: the generations that were made, and what is left."""

    made: list[Refreshed]
    end: End


def refresh(database: Database[Document], site: str, wishes: Iterable[str], way: Way) -> Outcome:
    """Fulfil *wishes* (see `refresher.plan`), and those that others have left.

    Raises `InvalidDefinition` for a group's broken rule, `LeaseLost` and `Unavailable`; whatever it raises, the
    generation in use stays as it was.
    """
    database = database.with_options(write_concern=WriteConcern("majority"))
    made: list[Refreshed] = []
    with translate_errors():
        holding.wish(database, site, *wishes)
        while (hold := holding.take(database, site, way.owner)) is not None:
            try:
                is_done, generation = _carry_out(hold, way)
            except PyMongoError:
                _leave(hold)
                raise
            if generation is not None:
                made.append(generation)
            if not is_done:
                return Outcome(made, End.NO_TIME)
        return Outcome(made, End.ELSEWHERE if holding.running(database, site) else End.DONE)


def _carry_out(hold: Lease, way: Way) -> tuple[bool, Refreshed | None]:
    """Return whether what *hold* is about is done, and the new generation where it came to one."""
    try:
        task, groups, is_new = _task(hold, way.clock())
        found = list(parts.sources(hold.site, task, groups)) if task else []
    except InvalidDefinition:
        hold.let_go()
        raise
    if task is None:
        hold.let_go()
        return True, None
    into = targets_collection(hold.site, hold.number)
    after = None if is_new else _go_on(hold, into)
    if after is None:
        _begin(hold, task, into)
    if not _fill(hold, found, into, after, way):
        hold.hand_over()
        return False, None
    users = hold.database[into].count_documents({})
    hold.switch({**task.keep, **task.find})
    _drop_older(hold)
    return True, Refreshed(hold.number, users, tuple(task.find), tuple(task.keep))


def _task(hold: Lease, now: int) -> tuple[Plan | None, dict[str, TargetGroup], bool]:
    """Return the plan, the groups that it is about, and whether it is a new one."""
    left = msgspec.convert(hold.state["plan"], Plan) if "plan" in hold.state else None
    is_new = left is None or now - left.now > STALE_MS
    version = hold.control["ruleset"] if left is None or is_new else left.ruleset
    groups = mongodb.read_target_groups(hold.database, hold.site, version)
    return (plan(hold.control, groups.values(), hold.state["wishes"], now=now) if is_new else left), groups, is_new


def _begin(hold: Lease, task: Plan, into: str) -> None:
    hold.database.drop_collection(into)
    hold.database.create_collection(into)
    hold.note(plan=msgspec.to_builtins(task), names=[hold.number], after=None, done=0)


def _go_on(hold: Lease, into: str) -> str | None:
    """Take over what another owner has filled; return the last user of it, ``None`` where there is nothing."""
    names = {targets_collection(hold.site, number): None for number in reversed(hold.state["names"])}
    there = set(hold.database.list_collection_names(filter={"name": {"$in": list(names)}}))
    name = next((name for name in names if name in there), None)
    after = hold.state.get("after")
    if name is None or after is None:
        return None
    if name != into:
        hold.database[name].rename(into)
    hold.note(names=[hold.number])
    hold.database[into].delete_many({"_id": {"$gt": after}})  # of a part that was not finished
    return str(after)


def _fill(hold: Lease, found: Sequence[Source], into: str, after: str | None, way: Way) -> bool:
    """Write part after part, beginning behind *after*; return whether that was all of them."""
    done, of = (hold.state.get("done", 0) if after else 0), parts.size(hold.database, found)
    way.progress(done, of)
    is_first = True
    while found:
        if not (is_first or way.may_go_on()):
            return False
        is_first = False
        last = parts.end(hold.database, found, after, way.part)
        parts.fill(hold.database, found, into, after=after, last=last)
        if last is None:
            break
        after, done = last, min(done + way.part, of)
        hold.note(after=after, done=done, of=of)
        way.progress(done, of)
    way.progress(of, of)
    return True


def _leave(hold: Lease) -> None:
    """Let another one go on at once, if that can still be said; else it has to wait until the lock expires."""
    with suppress(PyMongoError, OpportuneError):
        hold.hand_over()


def _drop_older(hold: Lease) -> None:
    """Drop the generations before the last one, and what may be left of refreshes that died."""
    before = (hold.control.get("generation") or 0, hold.number)
    pattern = re.compile(rf"targets_{re.escape(hold.site)}_(\d+)")
    names = hold.database.list_collection_names(filter={"name": {"$regex": f"^{pattern.pattern}$"}})
    for name in names:
        found = pattern.fullmatch(name)
        if found and int(found[1]) not in before and int(found[1]) < hold.number:
            hold.database.drop_collection(name)
