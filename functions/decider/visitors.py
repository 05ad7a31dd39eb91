"""A visitor becomes a user: from then on the user's row counts, and what the visitor had begun goes on there.

The two rows may lie in two slots, so no script can change both. The first takes the parts out and keeps them, the
second puts them in, once; then the first forgets them:

    release ── `l`: he is anna now; parts in `x` ──▶ adopt ── in anna's row ──▶ release ── `x` is gone
               ▲ dies here: parts wait in `x`         ▲ dies here: they wait, and arrive once all the same

An event of the visitor after the first step goes to the user's row. It may get there before the parts do; then the
newer of both is kept, step by step, so neither is lost.
"""

from typing import Any
from uuid import uuid4

import msgspec

from decider import keys
from decider.book import Rulebook
from decider.rows import Rows
from decider.scripts import Script
from shared.identities import Introduction

MOVES = 4
RELEASE = Script("release-3.lua")
ADOPT = Script("adopt-3.lua")


class _Parts(msgspec.Struct):
    token: str
    user: str


def become(rows: Rows, rules: Rulebook, site: str, introduction: Introduction, grace: int) -> None:
    """Make the visitor of *introduction* its user; raises `Unavailable`, then it has to be repeated.

    One command where that is known and there is nothing to move, else three. *grace*: see ``decide-5.lua``.
    """
    visitor = introduction.visitor
    call: dict[str, Any] = {
        "site": site,
        "visitor": visitor,
        "user": introduction.user,
        "token": uuid4().hex,
        "done": "",
        "ttl": rules.plan.ttl_ms,
    }
    for _ in range(MOVES):  # one that somebody else has left half-way goes first
        packed = rows.run(RELEASE, *_keys(site, visitor), msgspec.msgpack.encode(call))
        parts = msgspec.msgpack.decode(packed, type=_Parts | bool)
        if not isinstance(parts, _Parts):
            return
        _adopt(rows, rules, call, parts, packed, grace)
        call["done"] = parts.token


def _adopt(rows: Rows, rules: Rulebook, call: dict[str, Any], parts: _Parts, packed: bytes, grace: int) -> None:
    into = {
        "site": call["site"],
        "visitor": call["visitor"],
        "ttl": call["ttl"],
        "grace": grace,
        "targets": f"{rules.generation}:{rules.plan.ruleset.version}:?",
        "programs": {
            key: campaign.trigger.program for key, campaign in rules.plan.by_trigger.items() if campaign.everyone
        },
    }
    rows.run(ADOPT, *_keys(call["site"], parts.user), packed, msgspec.msgpack.encode(into))


def _keys(site: str, user: str) -> tuple[str, str, str]:
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.agenda(number), keys.on_the_way(number, site)
