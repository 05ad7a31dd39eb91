"""The users' rows in the state store, and the agenda beside them: one command per event."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Literal, NamedTuple

import msgspec

from decider import keys, timers
from decider.policy import Policy
from decider.scripts import Script
from decider.store import Client, Store, Unreadable
from decider.timers import Timer
from shared.identities import PopupEvent


class Outcome(IntEnum):
    """The return codes of ``apply-event-5.lua``."""

    DECIDED = 0
    SEEN = 1
    NO_TARGET = 2
    VISITOR_BECAME_USER = 3
    TARGETS_UNKNOWN = -1
    RULESET_OUTDATED = -2
    HISTORY_TOO_LATE = -3
    RATE_LIMITED = -4


WAITING = ("", "holdout")  # gates that a delay is kept for: who is held out waits as the others do


class TriggerCall(msgspec.Struct, omit_defaults=True):
    """One trigger that the event concerns. ``ref`` and ``note`` come back, untouched, in the fires.

    ``program``: ``None`` in a tick whose trigger is not live any more. ``watch``: what the event is to earlier
    activations; ``closed``: the gate that would stop a match; ``offer``: the id of the activation, where it is
    offered until it is seen.
    """

    key: str
    everyone: bool
    bits: int
    per: str
    program: dict[str, Any] | None
    ref: list[Any]
    note: str
    policy: Policy = msgspec.field(default_factory=Policy)
    watch: int = 0
    closed: str | None = None
    offer: str | None = None


class ApplyEvent(msgspec.Struct, omit_defaults=True):
    """What ``apply-event-5.lua`` takes: see its header."""

    site: str
    user: str
    at: int
    received: int
    generation: int
    ruleset: int
    ttl: int
    triggers: list[TriggerCall]
    patience: int
    grace: int
    message_id: str = ""
    history: bool = False
    tick: bool = False
    targets: list[str] | None = None
    keep: list[str] | None = None
    live: dict[str, str] | None = None
    limit: tuple[int, int] | None = None
    follows: bool = False
    fresh: bool = False


class Firing(msgspec.Struct, array_like=True):
    """A match: which trigger (``ref``), when it was completed, when its first event was, of which run.

    ``key`` and ``gate`` acknowledge it. ``reason``: match, absence, or goal: that is no match, but the end of an
    earlier one. ``gate``: what stopped it, or empty; of a goal: whether it calls back. ``due``: later than ``at`` where
    it is delayed; ``born``: see the script; ``expires``: when it is offered no more, 0 where it is offered once.
    """

    key: str
    ref: list[Any]
    at: int
    reason: str
    since: int
    per: str
    note: str
    gate: str = ""
    due: int = 0
    born: str = ""
    expires: int = 0

    @property
    def is_delayed(self) -> bool:
        """Return whether it is for the agenda, not for whoever decided it, to hand this over."""
        return self.gate in WAITING and self.due > self.at


class ApplyResult(msgspec.Struct):
    """What ``apply-event-5.lua`` returns: see its header."""

    code: Outcome
    fires: list[Firing]
    at: int
    evicted: list[str] = []
    offer: Firing | None = None
    wait: int = 0
    user: str = ""
    moving: bool = False


class ClaimedActivation(msgspec.Struct, array_like=True):
    """What ``claim-activation-4.lua`` returns; its header describes the fields."""

    fire: Firing | Literal[False]
    born: str
    again: bool


class Batch(NamedTuple):
    """Counters of a partition that were taken away: ``counts`` by ``[day, site, campaign, what]`` in JSON."""

    partition: int
    id: str
    counts: dict[str, int]


class UserStateStore:
    """The rows behind the scripts. *client*: see `Store`."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._store = Store(client)
        self._decide = Script("apply-event-5.lua")
        self._acknowledge = Script("acknowledge-2.lua")
        self._take = Script("claim-activation-4.lua")
        self._see = Script("mark-seen-1.lua")
        self._drain = Script("drain-counters-2.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(ApplyResult).decode
        self._taken = msgspec.msgpack.Decoder(ClaimedActivation).decode

    def apply(self, call: ApplyEvent) -> ApplyResult:
        """Apply one event, or a tick, to a user's row; raises `Unavailable` when what happened is not known."""
        digest = b"" if call.tick else keys.message_digest(call.message_id)
        with _reading():
            number = keys.partition(call.site, call.user)
            places = (*_keys(call.site, call.user), keys.on_the_way(number, call.site))
            return self._decode(self.run(self._decide, *places, self._encode(call), digest))

    def acknowledge(self, fires: Iterable[Firing]) -> None:
        """Note that *fires* have been handed over: one command per partition."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for fire in fires:
            site, user = msgspec.json.decode(fire.key, type=list[str])[:2]
            by_partition[keys.partition(site, user)] += [fire.key, fire.gate]
        for number, known in by_partition.items():
            self.run(self._acknowledge, keys.agenda(number), keys.unacknowledged(number), *known)

    def due(self, partitions: Sequence[int], now: int, most: int) -> list[Timer]:
        """Return what is due by *now* (ms) in the agendas of *partitions*, at most *most* of each."""

        def ask(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in partitions:
                pipeline.zrange(keys.agenda(number), "-inf", now, byscore=True, offset=0, num=most)
            return list(pipeline.execute())

        found = self._store.ask(ask)
        appointments = []
        for number, members in zip(partitions, found, strict=True):
            appointments += [timers.read(number, member) for member in members]
        return appointments

    def put_off(self, appointment: Timer, until: int) -> None:
        """Let *appointment* be due again *until* (ms), unless it is gone by now."""
        place = keys.agenda(appointment.partition)
        self._store.ask(lambda client: client.zadd(place, {appointment.member: until}, xx=True))

    def take(self, key: str, now: int, patience: int) -> ClaimedActivation:
        """Take the fire *key*, if it still waits and is due by *now* (ms); see ``claim-activation-4.lua``."""
        with _reading():
            site, user = msgspec.json.decode(key, type=list[str])[:2]
            return self._taken(self.run(self._take, *_keys(site, user), key, now, patience))

    def drain(self, partitions: Iterable[int], batch: str) -> Iterator[Batch]:
        """Take the counters of *partitions* away under the id *batch*, or yield again what has not `arrived`."""
        numbers = list(partitions)

        def ask(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in numbers:
                pipeline.hlen(keys.counters(number))
                pipeline.hlen(keys.taken_counters(number))
            return list(pipeline.execute())

        lengths = self._store.ask(ask)
        for number, counted, taken in zip(numbers, lengths[::2], lengths[1::2], strict=True):
            if counted or taken:
                answer = self.run(self._drain, keys.counters(number), keys.taken_counters(number), batch, "")
                found, counts = msgspec.msgpack.decode(answer, type=tuple[str, list[Any]])
                if counts:
                    yield Batch(number, found, dict(zip(counts[::2], counts[1::2], strict=True)))

    def arrived(self, batch: Batch) -> None:
        """Let go of *batch*: it has arrived."""
        place = batch.partition
        self.run(self._drain, keys.counters(place), keys.taken_counters(place), "", batch.id)

    def strike(self, appointment: Timer) -> None:
        """Remove an entry that means nothing any more."""
        self._store.ask(lambda client: client.zrem(keys.agenda(appointment.partition), appointment.member))

    def visitors(self, site: str, user: str) -> list[str]:
        """Return the visitors that a user was, as far as his row remembers them."""
        packed = self._store.ask(lambda client: client.hget(keys.row(keys.partition(site, user), site, user), "v"))
        return [visitor for visitor, _ in msgspec.msgpack.decode(packed, type=list[tuple[str, str]])] if packed else []

    def see(self, site: str, reports: Iterable[PopupEvent]) -> None:
        """Note that popups were seen: they are offered no more.

        One command for each user who says so, and one more for a visitor who has become a user.
        """
        seen: dict[str, list[str]] = {}
        for each in reports:
            if each.what != "failed":
                seen.setdefault(each.user, []).append(each.activation)
        failure: Unreadable | None = None
        for user, ids in seen.items():
            try:
                became = self.run(self._see, keys.row(keys.partition(site, user), site, user), *ids)
                if became:
                    known = became.decode()
                    self.run(self._see, keys.row(keys.partition(site, known), site, known), *ids)
            except Unreadable as error:
                failure = error
        if failure is not None:
            raise failure

    def run(self, script: Script, *keys_and_arguments: Any) -> Any:
        """Run *script*; raises `Unavailable` when what happened is not known."""
        return self._store.run(script, *keys_and_arguments)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(f"state store: {type(error).__name__}") from error


def _keys(site: str, user: str) -> tuple[str, str, str, str]:
    """Return the keys of a user: his row, and agenda, unacknowledged activations and counters of his partition."""
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.agenda(number), keys.unacknowledged(number), keys.counters(number)
