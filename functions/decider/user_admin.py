"""Inspect and erase what the state store has of one user, for the commands `why` and `forget`."""

from collections import Counter
from typing import Any

import msgspec

from decider import keys
from decider.doorbells import MAX_HOP_S
from decider.ports import Deps
from decider.rulesets import SiteRules
from decider.scripts import Script
from shared import groups
from shared.contracts import ForgetUser, InspectUser
from shared.errors import InvalidRequest
from shared.targets import GenerationDropped

INSPECT = Script("inspect-user-1.lua")
ERASE = Script("erase-user-5.lua")


class Reached(msgspec.Struct, array_like=True):
    """A unit step that a run has reached.

    ``events``: how many events of a match there are. ``since``: when the first of them was, ms.
    ``until``: the next event counts only before that time; 0: at any time.
    ``limit``: the limit that ends then: within, gap or inner.
    """

    events: int
    since: int
    until: int = 0
    limit: str = ""


class RunProgress(msgspec.Struct, array_like=True):
    """One run of a trigger.

    ``of``: how many events are a match.
    ``due``: when a pending absence falls due, ms; 0 if none is pending. ``anchor``: since when it waits.
    ``since``: when the first event of its match was.
    ``done``: it has matched, and matches only once.
    """

    trigger: str
    per: str
    of: int
    reached: list[Reached]
    due: int
    anchor: int
    since: int
    done: bool


class OpenActivation(msgspec.Struct, array_like=True):
    """An activation that later events can cancel (``due``, else 0) or convert (before ``until``, else 0)."""

    campaign: str
    per: str
    due: int
    until: int


class LostProgress(msgspec.Struct, array_like=True):
    """Progress that was dropped ``at`` (ms), because the user was not a target in ``generation`` of the targets."""

    trigger: str
    at: int
    generation: int


class UserRow(msgspec.Struct, array_like=True):
    """A user's row as ``inspect-user-1.lua`` returns it: its header describes the fields."""

    targets: str
    time: int
    recent: int
    lives: int
    runs: list[RunProgress]
    counted: list[tuple[str, list[int]]]
    open: list[OpenActivation]
    lost: list[LostProgress] = []


class UserSnapshot(msgspec.Struct):
    """The answer to `InspectUser`.

    ``ruleset``, ``generation``: the versions that the Decider uses.
    ``targets``: campaigns that the user is a target of, as the user's next event will find.
    ``known``: ruleset and generation that the row has seen; ``None`` if there is no row.
    """

    ruleset: int
    generation: int
    targets: list[str]
    known: tuple[int, int] | None = None
    row: UserRow | None = None


class _Erased(msgspec.Struct, array_like=True):
    """The result of ``erase-user-5.lua``: its header describes the fields."""

    waiting: list[tuple[str, int]]
    row: int
    timers: int
    activations: int


def inspect(request: InspectUser, deps: Deps) -> UserSnapshot:
    """Return what is stored of a user; raises `InvalidRequest` for an unknown site."""
    rules = _rules(request.site, deps)
    programs = {key: campaign.trigger.program for key, campaign in rules.index.by_trigger.items()}
    row = _read(request.site, request.user, programs, deps)
    known = targets = None
    if row is not None and row.targets:
        generation, ruleset, names = row.targets.split(":", 2)
        known = (int(ruleset), int(generation))
        if known == (rules.index.ruleset.version, rules.generation) and names != "?":
            live = rules.index.by_trigger
            targets = [live[name].id for name in names.split(",") if name in live and not live[name].everyone]
    if targets is None:
        try:
            found = deps.targets.groups(request.site, rules.generation, request.user)
        except GenerationDropped:
            deps.rulesets.reload()
            rules = _rules(request.site, deps)
            found = deps.targets.groups(request.site, rules.generation, request.user)
        campaigns = rules.index.ruleset.campaigns
        targets = [each.id for each in campaigns if not each.everyone and groups.is_target(each, found)]
    return UserSnapshot(rules.index.ruleset.version, rules.generation, targets, known, row)


def forget(request: ForgetUser, deps: Deps) -> dict[str, int]:
    """Erase what is stored of a user and of the visitors that the user was; return how much, by kind. Repeatable."""
    visitors = deps.states.visitors(request.site, request.user)
    erased: Counter[str] = Counter()
    for user in (*visitors, request.user):  # the user's own row goes last: it names the visitors
        erased.update(_forget_one(request.site, user, deps))
    return dict(erased)


def _forget_one(site: str, user: str, deps: Deps) -> dict[str, int]:
    # Schedules first: their names follow from the activations, which are about to be erased.
    listed = _run_erase(site, user, "list", deps)
    cancelled = _cancel_schedules(listed.waiting, deps)
    erased = _run_erase(site, user, "erase", deps)
    cancelled += _cancel_schedules([each for each in erased.waiting if each not in listed.waiting], deps)
    return {"row": erased.row, "timers": erased.timers, "activations": erased.activations, "schedules": cancelled}


def _rules(site: str, deps: Deps) -> SiteRules:
    rules = deps.rulesets.get().get(site) or deps.rulesets.reload().get(site)
    if rules is None:
        raise InvalidRequest("nothing was ever published for this site", code="unknown_site")
    return rules


def _read(site: str, user: str, programs: dict[str, Any], deps: Deps) -> UserRow | None:
    row = keys.row(keys.partition(site, user), site, user)
    packed = deps.states.run(INSPECT, row, msgspec.msgpack.encode(programs))
    found = msgspec.msgpack.decode(packed, type=UserRow | bool)
    return found if isinstance(found, UserRow) else None


def _run_erase(site: str, user: str, what: str, deps: Deps) -> _Erased:
    number = keys.partition(site, user)
    names = (
        keys.row(number, site, user),
        keys.timers(number),
        keys.unacknowledged(number),
        keys.counters(number),
        keys.in_progress(number, site),
    )
    return msgspec.msgpack.decode(deps.states.run(ERASE, *names, site, user, what), type=_Erased)


def _cancel_schedules(waiting: list[tuple[str, int]], deps: Deps) -> int:
    scheduled = [key for key, delay in waiting if delay > MAX_HOP_S * 1000]
    for key in scheduled:
        deps.doorbells.cancel_doorbell(key)
    return len(scheduled)
