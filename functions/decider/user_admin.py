"""What people ask about one user: what is stored of him, and that it be erased."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from decider import keys
from decider.decide import Decider
from decider.dispatch import LONGEST_HOP_S
from decider.rulesets import SiteRules
from decider.scripts import Script
from shared import groups
from shared.contracts import ForgetUser, InspectUser
from shared.errors import InvalidRequest

Run = Callable[..., Any]  # `UserStateStore.run`: a script, its keys and arguments

LOOK = Script("inspect-user-1.lua")
FORGET = Script("erase-user-5.lua")


class Reached(msgspec.Struct, array_like=True):
    """How far a run is: ``events`` of a match, the first of them ``since``.

    ``until``: the next one counts if it comes before that (0: whenever it comes); ``limit``: what ends then.
    """

    events: int
    since: int
    until: int = 0
    limit: str = ""


class Progress(msgspec.Struct, array_like=True):
    """One run of a trigger: ``of`` events are a match.

    ``due``: when a pending absence falls due, 0 where none is pending; ``anchor``: since when it waits; ``since``: time
    of the first event of its match. ``done``: it has matched, and comes but once.
    """

    trigger: str
    per: str
    of: int
    reached: list[Reached]
    due: int
    anchor: int
    since: int
    done: bool


class Open(msgspec.Struct, array_like=True):
    """An activation that later events can cancel (``due``, else 0) or convert (before ``until``, else 0)."""

    campaign: str
    per: str
    due: int
    until: int


class Lost(msgspec.Struct, array_like=True):
    """Progress of a trigger that went at ``at``, when ``generation`` of the targets had the user in it no more."""

    trigger: str
    at: int
    generation: int


class Row(msgspec.Struct, array_like=True):
    """A user's row, as ``inspect-user-1.lua`` returns it: see its header."""

    targets: str
    time: int
    recent: int
    lives: int
    runs: list[Progress]
    counted: list[tuple[str, list[int]]]
    open: list[Open]
    lost: list[Lost] = []


class UserSnapshot(msgspec.Struct):
    """The answer to `InspectUser`.

    ``ruleset``, ``generation``: what the Decider works with; ``known``: the same of the row, none where there is no
    row. ``targets``: campaigns that the user is a target of, as his next event will find it.
    """

    ruleset: int
    generation: int
    targets: list[str]
    known: tuple[int, int] | None = None
    row: Row | None = None


class _Erased(msgspec.Struct, array_like=True):
    waiting: list[tuple[str, int]]
    row: int
    appointments: int
    activations: int


def inspect(decider: Decider, request: InspectUser) -> dict[str, Any]:
    """Return `UserSnapshot` as a dict; raises `InvalidRequest` for an unknown site."""
    rules = _rules(decider, request.site)
    programs = {key: campaign.trigger.program for key, campaign in rules.plan.by_trigger.items()}
    row = _read(decider.rows.run, request.site, request.user, programs)
    known = targets = None
    if row is not None and row.targets:
        generation, ruleset, names = row.targets.split(":", 2)
        known = (int(ruleset), int(generation))
        if known == (rules.plan.ruleset.version, rules.generation) and names != "?":
            live = rules.plan.by_trigger
            targets = [live[name].id for name in names.split(",") if name in live and not live[name].everyone]
    if targets is None:
        found = decider.targets.groups(request.site, rules.generation, request.user)
        campaigns = rules.plan.ruleset.campaigns
        targets = [each.id for each in campaigns if not each.everyone and groups.is_target(each, found)]
    answer: dict[str, Any] = msgspec.to_builtins(
        UserSnapshot(rules.plan.ruleset.version, rules.generation, targets, known, row)
    )
    return answer


def forget(decider: Decider, request: ForgetUser) -> dict[str, int]:
    """Erase what is stored of a user and of the visitors he was; return how much, by kind. May be repeated."""
    visitors = decider.rows.visitors(request.site, request.user)
    erased: Counter[str] = Counter()
    for each in (*visitors, request.user):  # his own row goes last: it knows the others
        erased.update(_forget_one(decider, ForgetUser(request.site, each)))
    return dict(erased)


def _forget_one(decider: Decider, request: ForgetUser) -> dict[str, int]:
    # The schedules of what is delayed go first: once the activations are erased, nobody knows the schedules' names.
    told = _erase(decider.rows.run, request, "tell")
    silenced = _silence(decider, told.waiting)
    erased = _erase(decider.rows.run, request, "erase")
    silenced += _silence(decider, [each for each in erased.waiting if each not in told.waiting])
    return {
        "row": erased.row,
        "appointments": erased.appointments,
        "activations": erased.activations,
        "schedules": silenced,
    }


def _rules(decider: Decider, site: str) -> SiteRules:
    rules = decider.book.get().get(site) or decider.book.reload().get(site)
    if rules is None:
        raise InvalidRequest("nothing was ever published for this site", code="unknown_site")
    return rules


def _read(run: Run, site: str, user: str, programs: dict[str, Any]) -> Row | None:
    row = keys.row(keys.partition(site, user), site, user)
    answer = msgspec.msgpack.decode(run(LOOK, row, msgspec.msgpack.encode(programs)), type=Row | bool)
    return answer if isinstance(answer, Row) else None


def _erase(run: Run, request: ForgetUser, what: str) -> _Erased:
    number = keys.partition(request.site, request.user)
    names = (
        keys.row(number, request.site, request.user),
        keys.agenda(number),
        keys.unacknowledged(number),
        keys.counters(number),
        keys.on_the_way(number, request.site),
    )
    return msgspec.msgpack.decode(run(FORGET, *names, request.site, request.user, what), type=_Erased)


def _silence(decider: Decider, waiting: list[tuple[str, int]]) -> int:
    scheduled = [key for key, delay in waiting if delay > LONGEST_HOP_S * 1000]
    for key in scheduled:
        decider.dispatch.silence(key)
    return len(scheduled)
