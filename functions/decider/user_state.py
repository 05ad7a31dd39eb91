"""The users' rows in the state store, and the timers of their partitions: one command per event."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import msgspec

from decider import keys, timers
from decider.layout import Outcome
from decider.policy import Policy
from decider.scripts import Script
from decider.store import Client, Store, Unreadable
from decider.timers import Timer
from shared.identities import PopupEvent

# The delay is kept for these gates only: held-out users wait like all others, so that the two can be compared.
WAITING_GATES = ("", "holdout")


class TriggerCall(msgspec.Struct, omit_defaults=True):
    """A trigger that an event may change. ``ref`` and ``note`` come back unchanged in its firings.

    ``program``: ``None`` in a tick if the trigger is no longer live.
    ``watch``: what the event is to earlier activations, as ``gates.lua`` reads it.
    ``gate``: the gate that would stop a match, as far as the caller knows.
    ``offer``: the id of the activation, if its popup is offered until it is seen.
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
    gate: str | None = None
    offer: str | None = None


class ApplyEvent(msgspec.Struct, omit_defaults=True):
    """The call of ``apply-event-5.lua``: its header describes the fields."""

    site: str
    user: str
    at: int
    received: int
    generation: int
    ruleset: int
    ttl: int
    triggers: list[TriggerCall]
    ack_timeout: int
    grace: int
    message_id: str = ""
    clock: int | None = None
    history: bool = False
    tick: bool = False
    targets: list[str] | None = None
    keep: list[str] | None = None
    live: dict[str, str] | None = None
    limit: tuple[int, int] | None = None
    verified: bool = False
    answerable: bool = False


class Firing(msgspec.Struct, array_like=True):
    """A match, or the goal of an earlier one, as the scripts return it.

    ``key``: with ``gate``, acknowledges it.
    ``ref``: of which campaign, see `decider.activations.Reference`.
    ``at``: when it was completed, ms. ``since``: when its first event was.
    ``reason``: ``match``, ``absence``, or ``goal``: not a match, but the conversion of an earlier one.
    ``per``: the run.
    ``note``: of the completing event, see `decider.activations.Note`.
    ``gate``: what stopped it, or empty; for a goal, non-empty if it calls back what is still held.
    ``due``: when it is delivered, ms: later than ``at`` if it is delayed.
    ``state_epoch``: when the partition's counters were created.
    ``expires``: when it is no longer offered, ms; 0 if it is offered once.
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
    state_epoch: str = ""
    expires: int = 0

    @property
    def is_delayed(self) -> bool:
        """Return whether its timer hands it over, not the call that decided it."""
        return self.gate in WAITING_GATES and self.due > self.at


class ApplyResult(msgspec.Struct):
    """The result of ``apply-event-5.lua``: its header describes the fields."""

    code: Outcome
    firings: list[Firing]
    at: int
    evicted: list[str] = []
    offer: Firing | None = None
    retry_after: int = 0
    user: str = ""
    is_moving: bool = False


class ClaimedActivation(msgspec.Struct, array_like=True):
    """The result of ``claim-activation-4.lua``: its header describes the fields."""

    firing: Firing | Literal[False]
    state_epoch: str
    is_repeated: bool


class Batch(NamedTuple):
    """Counters that were drained from a partition: ``counts`` by ``[day, site, campaign, what]`` in JSON."""

    partition: int
    id: str
    counts: dict[str, int]


class UserStateStore:
    """The rows, through the scripts. *client*: see `Store`. Methods raise `Unavailable` if the outcome is unknown."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._store = Store(client)
        self._apply_event = Script("apply-event-5.lua")
        self._acknowledge = Script("acknowledge-2.lua")
        self._claim_activation = Script("claim-activation-4.lua")
        self._mark_seen = Script("mark-seen-1.lua")
        self._drain_counters = Script("drain-counters-2.lua")
        self._read_clock = Script("read-clock-1.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_result = msgspec.msgpack.Decoder(ApplyResult).decode
        self._decode_claimed = msgspec.msgpack.Decoder(ClaimedActivation).decode

    def apply(self, call: ApplyEvent) -> ApplyResult:
        """Apply one event, or a tick, to a user's row."""
        digest = b"" if call.tick else keys.message_digest(call.message_id)
        with _reading():
            number = keys.partition(call.site, call.user)
            places = (*_keys(call.site, call.user), keys.in_progress(number, call.site))
            return self._decode_result(self.run(self._apply_event, *places, self._encode(call), digest))

    def clock(self, site: str, user: str) -> int:
        """Return the time of the store that has this user's row, in ms."""
        return int(self.run(self._read_clock, keys.row(keys.partition(site, user), site, user)))

    def acknowledge(self, firings: Iterable[Firing]) -> None:
        """Note that *firings* were handed over: one command per partition."""
        by_partition: dict[int, list[str]] = defaultdict(list)
        for firing in firings:
            site, user = msgspec.json.decode(firing.key, type=list[str])[:2]
            by_partition[keys.partition(site, user)] += [firing.key, firing.gate]
        for number, known in by_partition.items():
            self.run(self._acknowledge, keys.timers(number), keys.unacknowledged(number), *known)

    def claim(self, key: str, now: int, ack_timeout: int) -> ClaimedActivation:
        """Claim the activation *key* for handing it over, if it still waits and is due by *now* (ms)."""
        with _reading():
            site, user = msgspec.json.decode(key, type=list[str])[:2]
            return self._decode_claimed(self.run(self._claim_activation, *_keys(site, user), key, now, ack_timeout))

    def due_timers(self, partitions: Sequence[int], now: int, limit: int) -> list[Timer]:
        """Return the timers of *partitions* that are due by *now* (ms), at most *limit* of each."""

        def ask(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in partitions:
                pipeline.zrange(keys.timers(number), "-inf", now, byscore=True, offset=0, num=limit)
            return list(pipeline.execute())

        found = self._store.ask(ask)
        return [
            timers.read(number, member) for number, members in zip(partitions, found, strict=True) for member in members
        ]

    def reschedule(self, timer: Timer, until: int) -> None:
        """Make *timer* due at *until* (ms), unless it was removed meanwhile."""
        place = keys.timers(timer.partition)
        self._store.ask(lambda client: client.zadd(place, {timer.member: until}, xx=True))

    def remove(self, timer: Timer) -> None:
        """Remove *timer*."""
        self._store.ask(lambda client: client.zrem(keys.timers(timer.partition), timer.member))

    def drain(self, partitions: Iterable[int], batch: str) -> Iterator[Batch]:
        """Drain the counters of *partitions* under the id *batch*; yield again what was never confirmed."""
        numbers = list(partitions)

        def ask(client: Client) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in numbers:
                pipeline.hlen(keys.counters(number))
                pipeline.hlen(keys.drained_counters(number))
            return list(pipeline.execute())

        lengths = self._store.ask(ask)
        for number, counted, drained in zip(numbers, lengths[::2], lengths[1::2], strict=True):
            if counted or drained:
                places = (keys.counters(number), keys.drained_counters(number))
                packed = self.run(self._drain_counters, *places, batch, "")
                found, counts = msgspec.msgpack.decode(packed, type=tuple[str, list[Any]])
                if counts:
                    yield Batch(number, found, dict(zip(counts[::2], counts[1::2], strict=True)))

    def confirm_drained(self, batch: Batch) -> None:
        """Delete *batch*: it is written."""
        number = batch.partition
        self.run(self._drain_counters, keys.counters(number), keys.drained_counters(number), "", batch.id)

    def visitors(self, site: str, user: str) -> list[str]:
        """Return the visitors that a user was, as far as the row remembers them."""
        packed = self._store.ask(lambda client: client.hget(keys.row(keys.partition(site, user), site, user), "v"))
        return [visitor for visitor, _ in msgspec.msgpack.decode(packed, type=list[tuple[str, str]])] if packed else []

    def mark_seen(self, site: str, popup_events: Iterable[PopupEvent]) -> None:
        """Stop offering the popups that were seen.

        One command per user, and a second one for a visitor who has become a user.
        """
        seen: dict[str, list[str]] = {}
        for each in popup_events:
            if each.what != "failed":
                seen.setdefault(each.user, []).append(each.activation)
        failure: Unreadable | None = None
        for user, ids in seen.items():
            try:
                became = self.run(self._mark_seen, keys.row(keys.partition(site, user), site, user), *ids)
                if became:
                    known = became.decode()
                    self.run(self._mark_seen, keys.row(keys.partition(site, known), site, known), *ids)
            except Unreadable as error:
                failure = error
        if failure is not None:
            raise failure

    def run(self, script: Script, *keys_and_arguments: Any) -> Any:
        """Return the result of *script*."""
        return self._store.run(script, *keys_and_arguments)


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(f"state store: {type(error).__name__}") from error


def _keys(site: str, user: str) -> tuple[str, str, str, str]:
    """Return a user's row, and the timers, unacknowledged activations and counters of the user's partition."""
    number = keys.partition(site, user)
    return keys.row(number, site, user), keys.timers(number), keys.unacknowledged(number), keys.counters(number)
