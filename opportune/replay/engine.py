"""Replay recorded events against campaigns in this process, with the same ``machine.lua`` that runs live."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from lupa.luajit21 import LuaRuntime

from decider import scripts
from decider.event_index import EventIndex, run_name
from decider.timers import GRACE_MS
from opportune.events.recorded import attach_context
from opportune.events.streams import Recorded
from shared.context import ROOT
from shared.errors import OpportuneError
from shared.ruleset import Campaign, Ruleset

NO_COLUMN = (None, None)
LOGIN = ""  # the event name of a login
MODULES = ("machine", "messages", "cancellations", "merge")
BLOCK = 256  # events passed to Lua in one call


class UnsortedEvents(OpportuneError):
    """An event is older than an earlier one of the same user, by more than `max_backdate`."""

    code = "unsorted_events"


class Match(NamedTuple):
    """One match.

    ``at``: when its last event or its deadline completed it, ms.
    ``since``: the time of its first event, ms.
    ``per``: the name of its run, or ``None``.
    ``reason``: ``match`` or ``absence``.
    """

    user: str
    campaign: str
    per: str | None
    at: int
    message_ids: list[str]
    reason: str
    since: int

    def as_json(self, gate: str | None = None) -> str:
        """Return the match as one line of JSON, with the *gate* that would have stopped it live."""
        shown = {name: value for name, value in self._asdict().items() if name != "since"}
        return msgspec.json.encode({**shown, **({"gate": gate} if gate else {})}).decode()


class Replay:
    """Campaigns and the progress of all users. Call `run` with the events, then `finish`.

    *ids*: whether matches carry the message ids of their events. Without them, a replay is faster.
    *on_login*: called with a visitor and the user that the visitor became, between the matches before and after it.
    """

    def __init__(
        self,
        campaigns: Sequence[Campaign],
        *,
        ids: bool = True,
        on_login: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        ruleset = Ruleset(site="replay", version=1, keys=[], campaigns=list(campaigns))
        self._index = EventIndex(ruleset)
        self.campaigns = [campaign.id for campaign in campaigns]
        self._candidates = {LOGIN: [], **self._index.candidates}
        self._names = {name: number for number, name in enumerate(self._candidates)}
        self._on_login = on_login
        self._users = _Numbering()
        self.events = 0
        self.relevant = 0
        self.duplicates = 0
        lua = LuaRuntime(unpack_returned_tuples=True)
        for name in MODULES:  # one module sees those before it
            lua.globals()[name] = lua.execute(scripts.module(name))
        modules = lua.table_from({name: lua.globals()[name] for name in MODULES})
        programs = lua.table_from([campaign.trigger.program for campaign in campaigns], recursive=True)
        load, load_login = (lua.eval("loadstring")(_source(name), f"@{name}") for name in ("replay.lua", "login.lua"))
        has_per = lua.table_from([bool(campaign.trigger.per) for campaign in campaigns])
        self._ids = ids
        self._has_per = any(campaign.trigger.per for campaign in campaigns)
        triggers_of = [[each.number + 1 for each in candidates] for candidates in self._index.candidates.values()]
        triggers = lua.table_from(triggers_of, recursive=True)
        self._run, self._finish = load(modules, programs, has_per, triggers, load_login, GRACE_MS)

    def run(self, events: Iterable[Recorded]) -> Iterator[Match]:
        """Apply *events* in order and yield the matches. A match may come up to one block of events late.

        An event arrives when its record says so, or with the newest event before it of its user. It counts with its
        own time, as live, and can only stop a trigger if it is older than `max_backdate` by then.
        Raises `UnsortedEvents` for such an event if the record does not say when it arrived.
        """
        names, events = self._names, iter(events)
        contexts = {name: read for name, read in self._index.catalogue().items() if ROOT in read}
        while block := list(islice(events, BLOCK)):
            self.events += len(block)
            if contexts:
                for event in block:
                    if event.event in contexts:
                        attach_context(event, contexts[event.event])
            for packed in self._apply([event for event in block if event.event in names]):
                match = self._match(packed)
                if match is not None:
                    yield match

    def _apply(self, events: list[Recorded]) -> Iterable[Any]:
        candidates, names, users = self._candidates, self._names, self._users
        pairs = [(event.attributes, candidate) for event in events for candidate in candidates[event.event]]
        bits = [candidate.bits_of(attributes) for attributes, candidate in pairs]
        runs: list[str] = []
        if self._has_per:
            named = [run_name(each.per, attributes) if each.per else "" for attributes, each in pairs]
            runs = [name or "" for name in named]
            bits = [0 if name is None else each for name, each in zip(named, bits, strict=True)]
        numbers = [names[event.event] for event in events]
        digests = [hash(event.message_id) for event in events]
        if 0 in numbers:  # of a login, the visitor stands there
            digests = [digest if e.event else users[e.visitor] for e, digest in zip(events, digests, strict=True)]
            self.events -= numbers.count(0)
        matches, accepted, repeated, unsorted = self._run(
            len(events),
            _doubles(numbers),
            _doubles([users[event.user] for event in events]),
            _doubles(digests),
            _doubles([event.at for event in events]),
            _doubles([event.received for event in events]),
            _doubles(bits),
            *(_packed([event.message_id for event in events]) if self._ids else NO_COLUMN),
            *(_packed(runs) if self._has_per else NO_COLUMN),
        )
        self.relevant += accepted + repeated
        self.duplicates += repeated
        if unsorted is not None:
            raise unsorted_events(events[unsorted])
        return list(matches.values())

    def finish(self, until: int) -> list[Match]:
        """Return the absences that fall due by *until* (ms), in order of time."""
        matches = [self._match(packed) for packed in self._finish(until).values()]
        return sorted(filter(None, matches), key=lambda match: (match.at, match.user, match.campaign))

    def _match(self, packed: Any) -> Match | None:
        user, trigger, at, reason, per, since, ids = packed.values()
        if reason == "login":
            self._on_login(self._users.names[int(per)], self._users.names[int(user)])
            return None
        return Match(
            user=self._users.names[int(user)],
            campaign=self.campaigns[trigger],
            per=per or None,
            at=int(at),
            message_ids=list(dict.fromkeys(reversed(list(ids.values())))),
            reason=reason,
            since=int(since),
        )


def unsorted_events(event: Recorded) -> UnsortedEvents:
    """Return the error about *event*."""
    return UnsortedEvents(
        f"{event.where}: this event is older than an earlier one of the same user, by more than max_backdate; "
        "sort the file by time, or add --sort"
    )


class _Numbering(dict[str, int]):
    """Numbers names from 0 in the order of their first use; ``names`` holds them in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __missing__(self, name: str) -> int:
        self[name] = number = len(self.names)
        self.names.append(name)
        return number


def _doubles(numbers: Iterable[float]) -> bytes:
    """Return *numbers* as native doubles."""
    return array("d", numbers).tobytes()


def _packed(texts: list[str]) -> tuple[bytes, bytes]:
    """Return *texts* joined, and their lengths in bytes as native doubles."""
    encoded = [text.encode() for text in texts]
    return b"".join(encoded), array("d", [len(text) for text in encoded]).tobytes()


def _source(name: str) -> str:
    from importlib.resources import files  # noqa: PLC0415 - only a replay needs it

    return files("opportune.replay").joinpath(name).read_text("utf-8")
