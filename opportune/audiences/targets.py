"""Refresh and roll back targets from the command line, with the code that the Refresher runs.

MongoDB does the work, so it does not matter where the code runs.
"""

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

POLL_S = 0.5


class RefreshRunning(OpportuneError):
    """Another refresh of the site is running."""

    code = "refresh_running"
    retryable = True
    status = 409


class NoPreviousGeneration(OpportuneError):
    """The site has no generation of targets before the current one."""

    code = "no_previous_generation"
    status = 409


class RefreshSummary(NamedTuple):
    """The result of a refresh.

    generation, users: the new generation; the current one if no new one was made.
    found: groups whose users were found anew.
    kept: groups that were copied from the previous generation.
    end: ``elsewhere`` if another refresh is running, which also does what this one was asked to do.
    """

    generation: int
    users: int
    found: Sequence[str]
    kept: Sequence[str]
    end: End

    @property
    def is_unchanged(self) -> bool:
        """Return whether there was nothing to do."""
        return self.end is End.DONE and not (self.found or self.kept)


class RunOptions(NamedTuple):
    """How to run a refresh. ``wait``: if another refresh is running, wait until everything is refreshed."""

    clock: Clock
    wait: bool = True
    on_progress: OnProgress = lambda _done, _total: None
    sleep: Callable[[float], None] = time.sleep


def refresh_all(database: Database[Document], site: str, options: RunOptions) -> RefreshSummary:
    """Refresh all groups of *site*."""
    return _refresh(database, site, [ALL], options)


def refresh_changed(database: Database[Document], site: str, options: RunOptions) -> RefreshSummary:
    """Refresh the groups of *site* that changed since the last refresh."""
    return _refresh(database, site, [CHANGED], options)


def refresh_campaign(database: Database[Document], site: str, campaign: str, options: RunOptions) -> RefreshSummary:
    """Refresh the groups of *campaign*; raise `InvalidRequest` if it is not live."""
    ruleset = sites.live_ruleset(database, site)
    found = next((each for each in ruleset.campaigns if each.id == campaign), None)
    if found is None:
        known = ", ".join(each.id for each in ruleset.campaigns) or "none"
        raise InvalidRequest(f"no campaign {campaign!r} is live at {site}; known: {known}", code="unknown_campaign")
    defined = mongodb.read_target_groups(database, site, ruleset.version)
    return _refresh(database, site, [CHANGED, *_stored_groups(found.groups, defined)], options)


def roll_back(database: Database[Document], site: str, options: RunOptions) -> RefreshSummary:
    """Restore the previous generation of targets under a new number.

    Raise `NoPreviousGeneration`, or `RefreshRunning` if a refresh is running.
    """
    if lease.read_running(database, site) is not None:
        raise RefreshRunning(f"a refresh of {site} is running: wait for it with `opportune targets refresh --wait`")
    result = _refresh(database, site, [ROLLBACK], options)
    if result.is_unchanged:
        raise NoPreviousGeneration(f"{site} has no generation of targets before the current one")
    return result


def _stored_groups(names: Iterable[str], defined: dict[str, TargetGroup]) -> list[str]:
    """Return the rules and lists among *names*, and those that the combinations among *names* consist of."""
    compounds = {group.id: group.made for group in defined.values() if group.made}
    expanded = sorted(groups.expand(names, compounds))
    return [name for name in expanded if name in defined and defined[name].is_found]


def _refresh(database: Database[Document], site: str, requested: Sequence[str], options: RunOptions) -> RefreshSummary:
    owner = f"process {os.getpid()} on {platform.node()}"
    refresh_options = RefreshOptions(owner, options.clock, on_progress=options.on_progress)
    result = refresh(database, site, requested, refresh_options)
    generations = list(result.generations)
    while options.wait and result.end is End.ELSEWHERE:
        options.sleep(POLL_S)
        running = lease.read_running(database, site)
        if running is not None:
            options.on_progress(running.users_done, running.users_total)
        result = refresh(database, site, (), refresh_options)
        generations += result.generations
    last = generations[-1] if generations else _current(database, site)
    return RefreshSummary(last.generation, last.users, last.found, last.kept, result.end)


def _current(database: Database[Document], site: str) -> Refreshed:
    generation = mongodb.read_pointers(database)[site].generation
    collection = database[mongodb.targets_collection(site, generation)]
    users = collection.estimated_document_count() - 1 if generation else 0  # without the marker
    return Refreshed(generation, users, ())
