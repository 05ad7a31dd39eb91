"""A visitor becomes a user: from then on the user's row counts, and what the visitor had begun goes on there.

The two rows may lie in two slots, so no script can change both. The first takes the parts out and keeps them, the
second puts them in, once; then the first forgets them:

    release ── `l`: he is anna now; parts in `x` ──▶ adopt ── in anna's row ──▶ release ── `x` is gone
               ▲ dies here: parts wait in `x`         ▲ dies here: they wait, and arrive once all the same

What waits in `x` is finished by whoever comes first: the same call again, another introduction, the visitor's next
event, or a wake, for the agenda names it as long as it is there.

An event of the user may come before the parts do; then the newer of both is kept, step by step, and what it has called
off is called off, so neither is lost.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec

from decider import keys
from decider.rulesets import Rulesets, SiteRules
from decider.scripts import Script
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS, Timer
from decider.user_state import UserStateStore
from shared.errors import Unavailable
from shared.identities import Identification
from shared.refreshing_cache import RefreshingCache

MOVES = 8
RELEASE = Script("detach-visitor-3.lua")
ADOPT = Script("merge-visitor-4.lua")


class Parts(msgspec.Struct):
    """What a visitor had begun, under way to ``user``: of it all we only have to know where to."""

    token: str
    user: str


class Visitors:
    """Makes visitors users. *book*, *tell*: as in `Decider`."""

    def __init__(self, book: RefreshingCache[Rulesets], rows: UserStateStore, tell: Callable[..., None]) -> None:
        self._book = book
        self._rows = rows
        self._tell = tell

    def become(self, site: str, introduction: Identification) -> None:
        """Make the visitor of *introduction* its user; raises `Unavailable`, then it has to be repeated.

        One command where that is known and there is nothing to move, else three.
        """
        self._move(site, introduction.visitor, introduction.user, at=introduction.said_at, now=introduction.received)

    def finish(self, site: str, visitor: str, now: int) -> None:
        """Let arrive what is on its way from *visitor* to a user; raises `Unavailable`. *now*: ms."""
        self._move(site, visitor, "", at=0, now=now)

    def keep(self, appointment: Timer, now: int) -> None:
        """Do the same for an entry of the agenda; one of a site that nobody knows means nothing."""
        site, visitor = appointment.names
        if self._book.get().get(site) is None and self._book.reload().get(site) is None:
            self._rows.strike(appointment)
        else:
            self.finish(site, visitor, now)

    def _move(self, site: str, visitor: str, user: str, *, at: int, now: int) -> None:
        call: dict[str, Any] = {
            "site": site,
            "visitor": visitor,
            "user": user,
            "at": at,
            "token": uuid4().hex,
            "done": "",
            "now": now,
            "patience": ACK_TIMEOUT_MS,
        }
        for _ in range(MOVES):  # one that somebody else has left half-way goes first
            rules = self._book.get().get(site)
            if rules is None:
                return
            call |= {"ruleset": rules.plan.ruleset.version, "ttl": rules.plan.ttl_ms}
            packed = self._rows.run(RELEASE, *_keys(site, visitor)[:3], msgspec.msgpack.encode(call))
            parts = msgspec.msgpack.decode(packed, type=Parts | bool)
            if parts is False:
                return
            if parts is True:  # the row has seen newer rules than ours
                self._book.reload()
                continue
            self._adopt(rules, call, parts, packed)
            call["done"] = parts.token
            if parts.token == call["token"]:
                call["user"] = ""  # he has arrived: said again, it would win over whoever he was later
        raise Unavailable("too much changed while a visitor became a user", code="visitor_moving")

    def _adopt(self, rules: SiteRules, call: dict[str, Any], parts: Parts, packed: bytes) -> None:
        live = {key: campaign for key, campaign in rules.plan.by_trigger.items() if campaign.everyone}
        into = {
            "site": call["site"],
            "visitor": call["visitor"],
            "ttl": call["ttl"],
            "grace": GRACE_MS,
            "now": call["now"],
            "targets": f"{rules.generation}:{rules.plan.ruleset.version}:?",
            "programs": {key: campaign.trigger.program for key, campaign in live.items()},
            "campaigns": {key: campaign.id for key, campaign in live.items()},
        }
        answer = self._rows.run(ADOPT, *_keys(call["site"], parts.user), packed, msgspec.msgpack.encode(into))
        for campaign in msgspec.msgpack.decode(answer, type=list[str]):
            self._tell("a run had to go: a user has too many", extra={"campaign": campaign})


def _keys(site: str, user: str) -> tuple[str, str, str, str]:
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.agenda(number), keys.on_the_way(number, site), keys.counters(number)
