"""Replay recorded events against campaigns, in this process, with the very ``machine.lua`` that runs live."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from lupa.luajit21 import LuaRuntime

from decider import scripts
from decider.keys import message_digest
from decider.relevance import Plan
from opportune.streams import Recorded
from shared.errors import OpportuneError
from shared.ruleset import Campaign, Ruleset


class UnsortedEvents(OpportuneError):
    """An event is older than the one before it of the same user."""

    code = "unsorted_events"


class Fire(NamedTuple):
    """A match: ``at`` in ms; ``per``: the name of the run, or ``None``."""

    user: str
    campaign: str
    per: str | None
    at: int
    message_ids: list[str]
    reason: str

    def as_json(self) -> str:
        """Return the fire as one line of JSON."""
        return msgspec.json.encode(self._asdict()).decode()


class Replay:
    """Campaigns with all their users' progress. Feed it with `events`, then ask `finish`."""

    def __init__(self, campaigns: Sequence[Campaign]) -> None:
        ruleset = Ruleset(site="replay", version=1, keys=[], campaigns=list(campaigns))
        self._plan = Plan(ruleset)
        self.campaigns = [campaign.id for campaign in campaigns]
        self._index = {campaign.id: n for n, campaign in enumerate(campaigns, start=1)}
        self._users: dict[str, int] = {}
        self._names: list[str] = [""]
        self.events = 0
        self.relevant = 0
        self.duplicates = 0
        lua = LuaRuntime(unpack_returned_tuples=True)
        machine = lua.execute(scripts.source("machine.lua"))
        programs = lua.table_from([campaign.trigger.program for campaign in campaigns], recursive=True)
        load = lua.eval("loadstring")(_driver(), "@replay.lua")
        self._apply, self._finish = load(machine, programs)

    def run(self, events: Iterable[Recorded]) -> Iterator[Fire]:
        """Apply *events* in order and yield the matches as they happen."""
        concerns_of, index, users = self._plan.concerns, self._index, self._users
        for event in events:
            self.events += 1
            concerns = concerns_of(event.event, event.attributes)
            if not concerns:
                continue
            self.relevant += 1
            user = users.get(event.user)
            if user is None:
                user = users[event.user] = len(self._names)
                self._names.append(event.user)
            calls: list[Any] = []
            for campaign, bits, per in concerns:
                calls += (index[campaign.id], bits, per)
            fires = self._apply(user, message_digest(event.message_id), event.at, event.message_id, *calls)
            if fires is None:
                continue
            if fires == 0:
                self.duplicates += 1
            elif fires == -1:
                raise UnsortedEvents(
                    f"{event.where}: this event is older than the one before it of the same user; "
                    "sort the file by time, or let --sort do it"
                )
            else:
                yield from self._read(fires)

    def finish(self, until: int) -> list[Fire]:
        """Return the absences that fall due up to *until* (ms), in order of time."""
        return sorted(self._read(self._finish(until)), key=lambda fire: (fire.at, fire.user, fire.campaign))

    def _read(self, fires: Any) -> list[Fire]:
        if not fires:
            return []
        return [
            Fire(
                user=self._names[user],
                campaign=self.campaigns[trigger - 1],
                per=per or None,
                at=int(at),
                message_ids=list(dict.fromkeys(reversed(list(ids.values())))),
                reason=reason,
            )
            for user, trigger, at, reason, per, ids in (tuple(fire.values()) for fire in fires.values())
        ]


def _driver() -> str:
    from importlib.resources import files  # noqa: PLC0415 - only a replay needs it

    return files("opportune").joinpath("replay.lua").read_text("utf-8")
