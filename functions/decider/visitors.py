"""Make a visitor a user: later events count in the user's row, and the visitor's progress goes on there.

The two rows may be in two slots, so no script can change both. The first script detaches the parts and keeps a copy,
the second merges them into the user's row exactly once, and then the first deletes the copy:

    detach ── `l`: the visitor is anna; parts in `x` ──▶ merge ── into anna's row ──▶ detach ── `x` is deleted
              ▲ dies here: the parts wait in `x`          ▲ dies here: they wait, and are merged only once

Whichever call comes next finishes a move that was interrupted: the same call again, another identification, the
visitor's next event, or a wake, because a timer exists as long as `x` does.

An event of the user may come before the parts do. Then the newer progress is kept, step by step, and what that event
has called off stays called off. So neither is lost.
"""

from typing import Any
from uuid import uuid4

import msgspec

from decider import keys
from decider.ports import Deps
from decider.rulesets import SiteRules
from decider.scripts import Script
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS, Timer
from shared.errors import Unavailable
from shared.identities import Identification

MAX_ROUNDS = 8
DETACH = Script("detach-visitor-3.lua")
MERGE = Script("merge-visitor-4.lua")


class Parts(msgspec.Struct):
    """The detached parts of a visitor, on their way to ``user``; the other fields only concern the scripts."""

    token: str
    user: str


def become_user(site: str, identification: Identification, deps: Deps) -> None:
    """Make the visitor of *identification* its user. Raises `Unavailable`; repeat it then.

    One command if that is known and there is nothing to move, else three.
    """
    _move(
        site,
        identification.visitor,
        identification.user,
        at=identification.said_at,
        now=identification.received,
        deps=deps,
    )


def finish_move(site: str, visitor: str, now: int, deps: Deps) -> None:
    """Finish the move of *visitor* that was interrupted. *now*: ms. Raises `Unavailable`."""
    _move(site, visitor, "", at=0, now=now, deps=deps)


def finish_move_of(timer: Timer, now: int, deps: Deps) -> None:
    """Finish the move that *timer* names; remove a timer of an unknown site."""
    site, visitor = timer.names
    if deps.rulesets.get().get(site) is None and deps.rulesets.reload().get(site) is None:
        deps.states.remove(timer)
    else:
        finish_move(site, visitor, now, deps)


def _move(site: str, visitor: str, user: str, *, at: int, now: int, deps: Deps) -> None:
    call: dict[str, Any] = {
        "site": site,
        "visitor": visitor,
        "user": user,
        "at": at,
        "token": uuid4().hex,
        "done": "",
        "now": now,
        "ack_timeout": ACK_TIMEOUT_MS,
    }
    for _ in range(MAX_ROUNDS):  # a move that another call left unfinished goes first
        rules = deps.rulesets.get().get(site)
        if rules is None:
            return
        call |= {"ruleset": rules.index.ruleset.version, "ttl": rules.index.ttl_ms}
        packed = deps.states.run(DETACH, *_keys(site, visitor)[:3], msgspec.msgpack.encode(call))
        parts = msgspec.msgpack.decode(packed, type=Parts | bool)
        if parts is False:
            return
        if parts is True:  # the row has seen a newer ruleset
            deps.rulesets.reload()
            continue
        _merge(rules, call, parts, packed, deps)
        call["done"] = parts.token
        if parts.token == call["token"]:
            call["user"] = ""  # merged; naming the user again would override a later identification
    raise Unavailable("too much changed while a visitor became a user", code="visitor_moving")


def _merge(rules: SiteRules, call: dict[str, Any], parts: Parts, packed: bytes, deps: Deps) -> None:
    live = {key: campaign for key, campaign in rules.index.by_trigger.items() if campaign.everyone}
    into = {
        "site": call["site"],
        "visitor": call["visitor"],
        "ttl": call["ttl"],
        "grace": GRACE_MS,
        "now": call["now"],
        "targets": f"{rules.generation}:{rules.index.ruleset.version}:?",
        "programs": {key: campaign.trigger.program for key, campaign in live.items()},
        "campaigns": {key: campaign.id for key, campaign in live.items()},
    }
    evicted = deps.states.run(MERGE, *_keys(call["site"], parts.user), packed, msgspec.msgpack.encode(into))
    for campaign in msgspec.msgpack.decode(evicted, type=list[str]):
        deps.log_warning("a run was evicted: the user has too many", extra={"campaign": campaign})


def _keys(site: str, user: str) -> tuple[str, str, str, str]:
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.timers(number), keys.in_progress(number, site), keys.counters(number)
