"""Make the next generation of a site's targets inside MongoDB. No customer's data comes to Python.

    store the request ─▶ acquire lease n ─▶ plan ─▶ write targets_<site>_<n> in parts ─▶ control: generation → n

Readers follow the pointer in ``control``, so they never see half a list. The previous generation remains for a
rollback. Older ones remain for `KEPT`, because readers use a pointer for up to about 30 seconds after they read it. An
owner that dies or runs out of time leaves a lease that expires and a record of its progress, from which the next owner
continues.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from refresher import parts
from refresher.lease import Lease, acquire, read_running, request_refresh
from refresher.parts import Source
from refresher.plan import Plan, make_plan
from shared import mongodb
from shared.clock import Clock
from shared.errors import InvalidDefinition, OpportuneError
from shared.mongodb import Document, targets_collection, translate_errors
from shared.ruleset import TargetGroup
from shared.targets import ONLY_USERS, create_generation

STALE_MS = 6 * 3_600_000
KEPT = timedelta(minutes=10)
OnProgress = Callable[[int, int], None]


class Refreshed(NamedTuple):
    """A new generation.

    users: how many users it contains.
    found: groups whose users were found anew.
    kept: groups that were copied.
    """

    generation: int
    users: int
    found: tuple[str, ...]
    kept: tuple[str, ...] = ()


class RefreshOptions(NamedTuple):
    """How to run a refresh.

    owner: its name, for people.
    clock: relative dates count from it.
    has_time: called before every part but the first; returns whether there is time for another.
    on_progress: called with the users done and their approximate total.
    part_size: users per part.
    """

    owner: str
    clock: Clock
    has_time: Callable[[], bool] = lambda: True
    on_progress: OnProgress = lambda _done, _total: None
    part_size: int = parts.PART_SIZE


class End(StrEnum):
    """Why a refresh ended: everything is done, time ran out, or another one is running and does this one's work too."""

    DONE = "done"
    NO_TIME = "no_time"
    ELSEWHERE = "elsewhere"


class RefreshResult(NamedTuple):
    """The new generations, and why the refresh ended."""

    generations: list[Refreshed]
    end: End


def refresh(
    database: Database[Document], site: str, requested: Iterable[str], options: RefreshOptions
) -> RefreshResult:
    """Do what is *requested* (see `refresher.plan`), and what other requests have left to do.

    Raises `InvalidDefinition` for an invalid rule of a group, `LeaseLost` and `Unavailable`. After an error, the
    generation in use is unchanged.
    """
    database = database.with_options(write_concern=WriteConcern("majority"))
    generations: list[Refreshed] = []
    with translate_errors():
        request_refresh(database, site, *requested)
        while (lease := acquire(database, site, options.owner)) is not None:
            try:
                is_done, generation = _run(lease, options)
            except PyMongoError:
                _try_to_expire(lease)
                raise
            if generation is not None:
                generations.append(generation)
            if not is_done:
                return RefreshResult(generations, End.NO_TIME)
        return RefreshResult(generations, End.ELSEWHERE if read_running(database, site) else End.DONE)


def _run(lease: Lease, options: RefreshOptions) -> tuple[bool, Refreshed | None]:
    """Return whether the work of *lease* is done, and the new generation if it made one."""
    try:
        plan, groups, is_new = _load_plan(lease, options.clock())
        sources = list(parts.find_sources(lease.site, plan, groups)) if plan else []
    except InvalidDefinition:
        lease.release()
        raise
    if plan is None:
        lease.release()
        return True, None
    into = targets_collection(lease.site, lease.fencing_token)
    after = None if is_new else _resume(lease, into)
    if after is None:
        _start(lease, plan, into)
    if not _write_parts(lease, sources, into, after, options):
        lease.expire()
        return False, None
    users = lease.database[into].count_documents(ONLY_USERS)
    control = lease.switch({**plan.keep, **plan.find})
    _drop_older(lease, control)
    return True, Refreshed(lease.fencing_token, users, tuple(plan.find), tuple(plan.keep))


def _load_plan(lease: Lease, now: int) -> tuple[Plan | None, dict[str, TargetGroup], bool]:
    """Return the plan, its groups, and whether the plan is new. A stored plan that is too old is replaced."""
    stored = msgspec.convert(lease.state["plan"], Plan) if "plan" in lease.state else None
    is_new = stored is None or now - stored.now > STALE_MS
    version = lease.control["ruleset"] if stored is None or is_new else stored.ruleset
    groups = mongodb.read_target_groups(lease.database, lease.site, version)
    plan = make_plan(lease.control, groups.values(), lease.state["requested"], now=now) if is_new else stored
    return plan, groups, is_new


def _start(lease: Lease, plan: Plan, into: str) -> None:
    create_generation(lease.database, into)
    lease.record(plan=msgspec.to_builtins(plan), tokens=[lease.fencing_token], last_user=None, users_done=0)


def _resume(lease: Lease, into: str) -> str | None:
    """Take over the collection of an earlier owner; return its last user, or ``None`` to start again."""
    names = {targets_collection(lease.site, token): None for token in reversed(lease.state["tokens"])}
    existing = set(lease.database.list_collection_names(filter={"name": {"$in": list(names)}}))
    name = next((name for name in names if name in existing), None)
    after = lease.state.get("last_user")
    if name is None or after is None:
        return None
    if name != into:
        lease.database[name].rename(into)
    lease.record(tokens=[lease.fencing_token])
    lease.database[into].delete_many({"_id": {"$gt": after}})  # rows of an unfinished part
    return str(after)


def _write_parts(
    lease: Lease, sources: Sequence[Source], into: str, after: str | None, options: RefreshOptions
) -> bool:
    """Write one part after another, starting after *after*; return whether all parts are written."""
    done, total = (lease.state.get("users_done", 0) if after else 0), parts.count_users(lease.database, sources)
    options.on_progress(done, total)
    is_first = True
    while sources:
        if not (is_first or options.has_time()):
            return False
        is_first = False
        last = parts.find_end(lease.database, sources, after, options.part_size)
        parts.write_part(lease.database, sources, into, after=after, last=last)
        if last is None:
            break
        after, done = last, min(done + options.part_size, total)
        lease.record(last_user=after, users_done=done, users_total=total)
        options.on_progress(done, total)
    options.on_progress(total, total)
    return True


def _try_to_expire(lease: Lease) -> None:
    """Let another owner continue immediately. If that fails, it must wait until the lease expires."""
    with suppress(PyMongoError, OpportuneError):
        lease.expire()


def _drop_older(lease: Lease, control: Mapping[str, Any]) -> None:
    """Drop generations that stopped being current longer than `KEPT` ago, and those of refreshes that died.

    control: the site's row after the switch.
    """
    retired = {each["generation"]: each["at"] for each in control.get("retired", [])}
    in_use = {control["generation"], (control.get("previous") or {}).get("generation")}
    expired = [number for number, at in retired.items() if at <= control["refreshed"] - KEPT and number not in in_use]
    kept = in_use | retired.keys() - set(expired)
    pattern = re.compile(rf"targets_{re.escape(lease.site)}_(\d+)")
    names = lease.database.list_collection_names(filter={"name": {"$regex": f"^{pattern.pattern}$"}})
    for name in names:
        found = pattern.fullmatch(name)
        if found and int(found[1]) not in kept and int(found[1]) < lease.fencing_token:
            lease.database.drop_collection(name)
    if expired:
        lease.database.control.update_one({"_id": lease.site}, {"$pull": {"retired": {"generation": {"$in": expired}}}})
