"""The users' rows in Redis, and the agenda beside them: one command per event, never repeated behind our back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import msgspec
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from decider import keys
from decider.scripts import Script
from shared.errors import Unavailable


class Outcome(IntEnum):
    """The return codes of ``decide-3.lua``."""

    DECIDED = 0
    SEEN = 1
    NO_TARGET = 2
    TARGETS_UNKNOWN = -1
    RULESET_OUTDATED = -2
    HISTORY_TOO_LATE = -3


class TriggerCall(msgspec.Struct):
    """One trigger that the event concerns. ``ref`` and ``note`` come back, untouched, in the fires.

    ``program``: ``None`` in a tick whose trigger is not live any more.
    """

    key: str
    everyone: bool
    bits: int
    per: str
    program: dict[str, Any] | None
    ref: list[Any]
    note: str


class RowCall(msgspec.Struct, omit_defaults=True):
    """What ``decide-3.lua`` takes: see its header."""

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

    ``key`` acknowledges it.
    """

    key: str
    ref: list[Any]
    at: int
    reason: str
    since: int
    per: str
    note: str


class RowAnswer(msgspec.Struct):
    """What ``decide-3.lua`` returns: see its header."""

    code: Outcome
    fires: list[Fire]
    at: int


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
    def zadd(self, name: str, mapping: Any, *, xx: bool) -> Any: ...
    def zrem(self, name: str, *values: Any) -> Any: ...
    def pipeline(self, transaction: Any = None) -> Any: ...


class Rows:
    """The rows behind the scripts. *connect* is called at first use: a cluster client talks at once."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._decide = Script("decide-3.lua")
        self._acknowledge = Script("acknowledge-2.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(RowAnswer).decode

    def apply(self, call: RowCall) -> RowAnswer:
        """Apply one event, or a tick, to a user's row; raises `Unavailable` when what happened is not known."""
        number = keys.partition(call.site, call.user)
        row = keys.row(number, call.site, call.user)
        names = (row, keys.agenda(number), keys.unacknowledged(number))
        digest = b"" if call.tick else keys.message_digest(call.message_id)
        return self._decode(self._run(self._decide, *names, self._encode(call), digest))

    def acknowledge(self, fires: Iterable[Fire]) -> None:
        """Note that *fires* have been handed over: one command per partition."""
        by_partition: dict[int, list[str]] = {}
        for fire in fires:
            site, user = msgspec.json.decode(fire.key, type=list[str])[:2]
            by_partition.setdefault(keys.partition(site, user), []).append(fire.key)
        for number, known in by_partition.items():
            self._run(self._acknowledge, keys.agenda(number), keys.unacknowledged(number), *known)

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

    def unacknowledged(self, appointment: Appointment) -> Fire | None:
        """Return the fire of a handover that still waits; one that is not there any more leaves the agenda."""
        (key,) = appointment.names
        with self._talking() as client:
            packed = client.hget(keys.unacknowledged(appointment.partition), key)
        if packed is None:
            self.strike(appointment)
            return None
        return msgspec.msgpack.decode(packed, type=Fire)

    def postpone(self, appointment: Appointment, until: int) -> None:
        """Move an entry to *until* (ms), if it is still there."""
        with self._talking() as client:
            client.zadd(keys.agenda(appointment.partition), {appointment.member: until}, xx=True)

    def strike(self, appointment: Appointment) -> None:
        """Remove an entry that means nothing any more."""
        with self._talking() as client:
            client.zrem(keys.agenda(appointment.partition), appointment.member)

    def _run(self, script: Script, *keys_and_arguments: Any) -> Any:
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
