"""The users' rows in Redis, and the agenda beside them: one command per event, never repeated behind our back."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from decider import keys
from decider.policy import Policy
from decider.scripts import Script
from shared.errors import Unavailable


class Outcome(IntEnum):
    """The return codes of ``decide-4.lua``."""

    DECIDED = 0
    SEEN = 1
    NO_TARGET = 2
    TARGETS_UNKNOWN = -1
    RULESET_OUTDATED = -2
    HISTORY_TOO_LATE = -3


WAITING = ("", "holdout")  # gates that a delay is kept for: who is held out waits as the others do


class TriggerCall(msgspec.Struct, omit_defaults=True):
    """One trigger that the event concerns. ``ref`` and ``note`` come back, untouched, in the fires.

    ``program``: ``None`` in a tick whose trigger is not live any more. ``watch``: what the event is to earlier
    activations; ``closed``: the gate that would stop a match.
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


class RowCall(msgspec.Struct, omit_defaults=True):
    """What ``decide-4.lua`` takes: see its header."""

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


class Fire(msgspec.Struct, array_like=True):
    """A match: which trigger (``ref``), when it was completed, when its first event was, of which run.

    ``key`` and ``gate`` acknowledge it. ``reason``: match, absence, or goal: that is no match, but the end of an
    earlier one. ``gate``: what stopped it, or empty; of a goal: whether it calls back. ``due``: later than ``at`` where
    it is delayed; ``born``: see the script.
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

    @property
    def is_delayed(self) -> bool:
        """Return whether it is for the agenda, not for whoever decided it, to hand this over."""
        return self.gate in WAITING and self.due > self.at


class RowAnswer(msgspec.Struct):
    """What ``decide-4.lua`` returns: see its header."""

    code: Outcome
    fires: list[Fire]
    at: int
    evicted: list[str] = []


class Taken(msgspec.Struct, array_like=True):
    """What ``take-4.lua`` returns: the fire, ``None`` where there is nothing to take; and of which state."""

    fire: Fire | Literal[False]
    born: str


class Appointment(NamedTuple):
    """An entry of a partition's agenda: its kind, what it names, and the entry itself."""

    partition: int
    kind: str
    names: list[str]
    member: bytes


class Client(Protocol):
    """What we need of a Redis client, clustered or not."""

    def evalsha(self, sha: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def eval(self, script: str, numkeys: int, *keys_and_args: Any) -> Any: ...
    def hget(self, name: str, key: str) -> Any: ...
    def hincrby(self, name: str, key: str, amount: int) -> Any: ...
    def zrem(self, name: str, *values: Any) -> Any: ...
    def pipeline(self, transaction: Any = None) -> Any: ...


class Rows:
    """The rows behind the scripts. *connect* is called at first use: a cluster client talks at once."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._decide = Script("decide-4.lua")
        self._acknowledge = Script("acknowledge-2.lua")
        self._take = Script("take-4.lua")
        self._drain = Script("drain-1.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(RowAnswer).decode
        self._taken = msgspec.msgpack.Decoder(Taken).decode

    def apply(self, call: RowCall) -> RowAnswer:
        """Apply one event, or a tick, to a user's row; raises `Unavailable` when what happened is not known."""
        digest = b"" if call.tick else keys.message_digest(call.message_id)
        return self._decode(self.run(self._decide, *_keys(call.site, call.user), self._encode(call), digest))

    def acknowledge(self, fires: Iterable[Fire]) -> None:
        """Note that *fires* have been handed over: one command per partition."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for fire in fires:
            site, user = msgspec.json.decode(fire.key, type=list[str])[:2]
            by_partition[keys.partition(site, user)] += [fire.key, fire.gate]
        for number, known in by_partition.items():
            self.run(self._acknowledge, keys.agenda(number), keys.unacknowledged(number), *known)

    def due(self, partitions: Sequence[int], now: int, most: int) -> list[Appointment]:
        """Return what is due by *now* (ms) in the agendas of *partitions*, at most *most* of each."""
        with self._talking() as client:
            pipeline = client.pipeline(transaction=False)
            for number in partitions:
                pipeline.zrange(keys.agenda(number), "-inf", now, byscore=True, offset=0, num=most)
            found = pipeline.execute()
        appointments = []
        for number, members in zip(partitions, found, strict=True):
            for member in members:
                kind, *names = msgspec.json.decode(member, type=list[str])
                appointments.append(Appointment(number, kind, names, member))
        return appointments

    def take(self, key: str, now: int, patience: int) -> Taken:
        """Take the fire *key*, if it still waits and is due by *now* (ms); see ``take-4.lua``."""
        site, user = msgspec.json.decode(key, type=list[str])[:2]
        return self._taken(self.run(self._take, *_keys(site, user), key, now, patience))

    def drain(self, partitions: Iterable[int]) -> Iterator[tuple[int, list[Any]]]:
        """Take the counters of *partitions* away; yield the partition and ``[[day, site, campaign, what], number]``."""
        with self._talking() as client:
            pipeline = client.pipeline(transaction=False)
            numbers = list(partitions)
            for number in numbers:
                pipeline.hlen(keys.counters(number))
            lengths = pipeline.execute()
        for number, length in zip(numbers, lengths, strict=True):
            if length:
                yield number, msgspec.msgpack.decode(self.run(self._drain, keys.counters(number)))

    def count(self, partition: int, name: str, by: int) -> None:
        """Add to a counter of *partition*."""
        with self._talking() as client:
            client.hincrby(keys.counters(partition), name, by)

    def strike(self, appointment: Appointment) -> None:
        """Remove an entry that means nothing any more."""
        with self._talking() as client:
            client.zrem(keys.agenda(appointment.partition), appointment.member)

    def run(self, script: Script, *keys_and_arguments: Any) -> Any:
        """Run *script*; raises `Unavailable` when what happened is not known."""
        with self._talking() as client:
            try:
                return client.evalsha(script.sha, script.keys, *keys_and_arguments)
            except NoScriptError:
                return client.eval(script.text, script.keys, *keys_and_arguments)

    @contextmanager
    def _talking(self) -> Iterator[Client]:
        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except (RedisError, RedisClusterException) as error:
            raise Unavailable(f"state store: {type(error).__name__}", code="state_unavailable") from error


def _keys(site: str, user: str) -> tuple[str, str, str, str]:
    """Return the keys of a user: his row, and agenda, unacknowledged activations and counters of his partition."""
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.agenda(number), keys.unacknowledged(number), keys.counters(number)
