"""Refresh targets from the command line: the work is MongoDB's, so it does not matter who asks for it."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pymongo.database import Database

from opportune.system import sites
from refresher import lease
from refresher.plan import ALL, CHANGED, ROLLBACK
from refresher.refresh import End, OnProgress, Refreshed, RefreshOptions, refresh
from shared import groups, mongodb
from shared.clock import Clock
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.ruleset import TargetGroup

PAUSE_S = 0.5


class RefreshRunning(OpportuneError):
    """Another refresh of the site is under way."""

    code = "refresh_running"
    retryable = True
    status = 409


class NothingBefore(OpportuneError):
    """There is no generation of targets before the one in use."""

    code = "nothing_before"
    status = 409


class Result(NamedTuple):
    """What came of it: the last generation that was made, or the one that was in use and stays.

    ``end``: ``elsewhere`` where another refresh is under way, which sees to what was asked.
    """

    generation: int
    users: int
    found: Sequence[str]
    kept: Sequence[str]
    end: End

    @property
    def is_unchanged(self) -> bool:
        """Return whether nothing had to be done."""
        return self.end is End.DONE and not (self.found or self.kept)


class Asked(NamedTuple):
    """How to go about it. ``wait``: until all is done, also where another refresh is under way."""

    clock: Clock
    wait: bool = True
    progress: OnProgress = lambda _done, _of: None
    sleep: Callable[[float], None] = time.sleep


def refresh_all(database: Database[Document], site: str, asked: Asked) -> Result:
    """Look for the users of all groups anew."""
    return _refresh(database, site, [ALL], asked)


def refresh_changed(database: Database[Document], site: str, asked: Asked) -> Result:
    """Look for the users of the groups that were changed since the last refresh."""
    return _refresh(database, site, [CHANGED], asked)


def refresh_campaign(database: Database[Document], site: str, campaign: str, asked: Asked) -> Result:
    """Look for the users of the groups that *campaign* is for; raises `InvalidRequest` for an unknown one."""
    ruleset = sites.live_ruleset(database, site)
    found = next((each for each in ruleset.campaigns if each.id == campaign), None)
    if found is None:
        known = ", ".join(each.id for each in ruleset.campaigns) or "none"
        raise InvalidRequest(f"no campaign {campaign!r} is live at {site}; known: {known}", code="unknown_campaign")
    defined = mongodb.read_target_groups(database, site, ruleset.version)
    return _refresh(database, site, [CHANGED, *_looked_for(found.groups, defined)], asked)


def go_back(database: Database[Document], site: str, asked: Asked) -> Result:
    """Bring the generation of targets before back, under a new number; raises `NothingBefore`, `RefreshRunning`."""
    if lease.read_running(database, site) is not None:
        raise RefreshRunning(f"a refresh of {site} is under way: wait for it with `opportune targets refresh --wait`")
    result = _refresh(database, site, [ROLLBACK], asked)
    if result.is_unchanged:
        raise NothingBefore(f"{site} has no generation of targets before the one in use")
    return result


def _looked_for(names: Iterable[str], defined: dict[str, TargetGroup]) -> list[str]:
    compounds = {group.id: group.made for group in defined.values() if group.made}
    reached = sorted(groups.expand(names, compounds))
    return [name for name in reached if name in defined and defined[name].is_found]


def _refresh(database: Database[Document], site: str, requested: Sequence[str], asked: Asked) -> Result:
    options = RefreshOptions(f"process {os.getpid()} on {platform.node()}", asked.clock, on_progress=asked.progress)
    result = refresh(database, site, requested, options)
    made = list(result.generations)
    while asked.wait and result.end is End.ELSEWHERE:
        asked.sleep(PAUSE_S)
        running = lease.read_running(database, site)
        if running is not None:
            asked.progress(running.users_done, running.users_total)
        result = refresh(database, site, (), options)
        made += result.generations
    last = made[-1] if made else _in_use(database, site)
    return Result(last.generation, last.users, last.found, last.kept, result.end)


def _in_use(database: Database[Document], site: str) -> Refreshed:
    generation = mongodb.read_pointers(database)[site].generation
    users = database[mongodb.targets_collection(site, generation)].estimated_document_count() if generation else 0
    return Refreshed(generation, users, ())
