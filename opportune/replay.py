"""Replay recorded events against campaigns, in this process, with the very ``machine.lua`` that runs live."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from lupa.luajit21 import LuaRuntime

from decider import scripts
from decider.relevance import Plan, run_name
from opportune.streams import Recorded
from shared.errors import OpportuneError
from shared.ruleset import Campaign, Ruleset

NOTHING = (None, None)
BATCH = 256  # entries that cross into Lua together


class UnsortedEvents(OpportuneError):
    """An event is older than the one before it of the same user."""

    code = "unsorted_events"


class Fire(NamedTuple):
    """A match: completed ``at``, its first event ``since`` (ms); ``per``: the name of the run, or ``None``."""

    user: str
    campaign: str
    per: str | None
    at: int
    message_ids: list[str]
    reason: str
    since: int

    def as_json(self) -> str:
        """Return the fire as one line of JSON."""
        shown = {name: value for name, value in self._asdict().items() if name != "since"}
        return msgspec.json.encode(shown).decode()


class Replay:
    """Campaigns with all their users' progress. Feed it with `run`, then ask `finish`.

    *ids*: fires carry the message ids of their events; without, a replay is faster and its fires have none.
    """

    def __init__(self, campaigns: Sequence[Campaign], *, ids: bool = True) -> None:
        ruleset = Ruleset(site="replay", version=1, keys=[], campaigns=list(campaigns))
        self._plan = Plan(ruleset)
        self.campaigns = [campaign.id for campaign in campaigns]
        self._users: dict[str, int] = {}
        self._names: list[str] = [""]
        self.events = 0
        self.relevant = 0
        self.duplicates = 0
        lua = LuaRuntime(unpack_returned_tuples=True)
        machine = lua.execute(scripts.source("machine.lua"))
        programs = lua.table_from([campaign.trigger.program for campaign in campaigns], recursive=True)
        load = lua.eval("loadstring")(_driver(), "@replay.lua")
        separated = lua.table_from([bool(campaign.trigger.per) for campaign in campaigns])
        self._ids = ids
        self._has_per = any(campaign.trigger.per for campaign in campaigns)
        self._run, self._finish = load(machine, programs, separated)

    def run(self, events: Iterable[Recorded]) -> Iterator[Fire]:
        """Apply *events* in order and yield the matches; they come a few hundred events later."""
        candidates_of, users, names = self._plan.candidates.get, self._users, self._names
        count = 0
        # An entry is an event and what it is to one trigger: five numbers, the event, the name of the run.
        entries: list[Recorded] = []
        numbers, runs = array("d"), list[str]()
        for event in events:
            count += 1
            candidates = candidates_of(event.event)
            if candidates is None:
                continue
            user = users.get(event.user)
            if user is None:
                user = users[event.user] = len(names)
                names.append(event.user)
            attributes = event.attributes
            for _, number, bits_of, per in candidates:
                bits = bits_of(attributes)
                run = run_name(per, attributes) if per else ""
                if bits and run is not None:
                    numbers.extend((user, hash(event.message_id), event.at, number, bits))
                    entries.append(event)
                    if self._has_per:
                        runs.append(run)
                    user = 0
            if len(entries) >= BATCH:
                self.events, count = self.events + count, 0
                yield from self._apply(entries, numbers, runs)
                entries, numbers, runs = [], array("d"), []
        self.events += count
        yield from self._apply(entries, numbers, runs)

    def _apply(self, entries: list[Recorded], numbers: "array[float]", runs: list[str]) -> list[Fire]:
        fires, accepted, repeated, unsorted = self._run(
            len(entries),
            numbers.tobytes(),
            *(_packed([event.message_id for event in entries]) if self._ids else NOTHING),
            *(_packed(runs) if self._has_per else NOTHING),
        )
        self.relevant += accepted + repeated
        self.duplicates += repeated
        if unsorted is not None:
            raise UnsortedEvents(
                f"{entries[unsorted].where}: this event is older than the one before it of the same user; "
                "sort the file by time, or let --sort do it"
            )
        return [self._read(fire) for fire in fires.values()]

    def finish(self, until: int) -> list[Fire]:
        """Return the absences that fall due up to *until* (ms), in order of time."""
        fires = [self._read(fire) for fire in self._finish(until).values()]
        return sorted(fires, key=lambda fire: (fire.at, fire.user, fire.campaign))

    def _read(self, fire: Any) -> Fire:
        user, trigger, at, reason, per, since, ids = fire.values()
        return Fire(
            user=self._names[user],
            campaign=self.campaigns[trigger],
            per=per or None,
            at=int(at),
            message_ids=list(dict.fromkeys(reversed(list(ids.values())))),
            reason=reason,
            since=int(since),
        )


def _packed(texts: list[str]) -> tuple[bytes, bytes]:
    """Return *texts* as one, and their lengths in bytes, as native doubles."""
    encoded = [text.encode() for text in texts]
    return b"".join(encoded), array("d", [len(text) for text in encoded]).tobytes()


def _driver() -> str:
    from importlib.resources import files  # noqa: PLC0415 - only a replay needs it

    return files("opportune").joinpath("replay.lua").read_text("utf-8")
