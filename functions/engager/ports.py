"""The ports of the Engager's use cases, and the dependencies of its handler. All of them are frozen."""

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from engager.channels.channel import OutboundChannel
from engager.controls import Control
from engager.ledger.backlog import BacklogCounts, Exclusion
from engager.ledger.states import DeliveryResult, HeldActivation, RenderedContent, State
from engager.mail_events import RecordedMailEvent
from engager.render import Templates
from engager.rulesets import DeliveryContext
from engager.send_blocks import SendBlock
from shared.clock import Clock
from shared.contracts import Activation, Conversion
from shared.observability import Observability
from shared.ruleset import Campaign


class Ledger(Protocol):
    """The record of every activation; see `engager.ledger.ledger`."""

    def claim(
        self,
        activation: Activation,
        state: State = State.SENDING,
        reason: str | None = None,
        *,
        variant: str | None = None,
        held: HeldActivation | None = None,
    ) -> bool: ...
    def hold(self, held: HeldActivation, reason: str, *, found: HeldActivation | None = None) -> bool: ...
    def hold_claimed(self, held: HeldActivation, reason: str) -> DeliveryResult: ...
    def settle(self, activation_id: str, result: DeliveryResult) -> DeliveryResult: ...
    def store_popup(
        self, activation: Activation, content: RenderedContent, variant: str | None = None
    ) -> RenderedContent | None: ...
    def record_suppressed(self, activations: Sequence[Activation]) -> set[str]: ...


class DeliveryContexts(Protocol):
    """The campaign and the site's settings for an activation; see `engager.rulesets`."""

    def delivery_context(self, activation: Activation, live_version: int = 0) -> DeliveryContext: ...


class Customers(Protocol):
    """The attributes of a user; ``None`` for an unknown one."""

    def attributes(self, site: str, user: str) -> dict[str, Any] | None: ...


class Controls(Protocol):
    """The pauses of a site, and its live ruleset and targets."""

    def of(self, site: str) -> Control: ...
    def reload(self, site: str) -> Control: ...


class SendBlocks(Protocol):
    """What stops a message right before it is sent; see `engager.send_blocks`."""

    def read(self, activation: Activation) -> SendBlock: ...


class Targets(Protocol):
    """Whether a user is a target of a campaign now."""

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool: ...


class SendRateLimiter(Protocol):
    """The limit on messages per minute; see `engager.send_rate_limiter`."""

    def acquire(self, site: str, channel: str, limit: int, now: int) -> bool: ...
    def release(self, site: str, channel: str, now: int) -> None: ...


class Goals(Protocol):
    """Whether an activation without a row reached its goal, and is recalled by it."""

    def reached(self, activation_id: str) -> bool: ...


class Tombstones(Protocol):
    """Returns activations with those of forgotten users pseudonymised; see `engager.tombstones`."""

    def pseudonymise_forgotten(self, activations: Sequence[Activation]) -> list[Activation]: ...


class Backlog(Protocol):
    """The ledger's open rows; see `engager.ledger.backlog`."""

    def mark_interrupted(self) -> int: ...
    def due(self, excluded: AbstractSet[Exclusion] = frozenset()) -> Generator[HeldActivation, None, None]: ...
    def count(self) -> BacklogCounts: ...


@dataclass(frozen=True)
class Ports:
    """The ports of `engager.engage`.

    ``outbound``: the channels with a provider, by name.
    ``tombstones``: asks the database. ``cached_tombstones``: answers from memory, for popups.
    ``unsubscribe_url``: the URL for a site, user and channel.
    """

    rulesets: DeliveryContexts
    customers: Customers
    ledger: Ledger
    templates: Templates
    outbound: Mapping[str, OutboundChannel]
    controls: Controls
    send_blocks: SendBlocks
    targets: Targets
    send_rate_limiter: SendRateLimiter
    goals: Goals
    tombstones: Tombstones
    cached_tombstones: Tombstones
    unsubscribe_url: Callable[[str, str, str], str]
    clock: Clock


@dataclass(frozen=True)
class SweepPorts:
    """The ports of `engager.sweep`, beside those of a delivery.

    ``apply_early_conversions``: moves early conversions to their rows; returns how many.
    ``ensure_indexes``: creates missing indexes.
    ``log_warning``: logs a sentence with ``extra`` fields.
    """

    backlog: Backlog
    apply_early_conversions: Callable[[], int]
    ensure_indexes: Callable[[], None]
    log_warning: Callable[..., None]


@dataclass(frozen=True)
class Deps:
    """The dependencies of the handler.

    ``mark_conversions``: records conversions in the ledger.
    ``record_mail_event``: records an event of SES.
    ``forget``: erases a user of a site; returns how many rows changed, by kind.
    ``db_deadline``: bounds all database calls inside a ``with`` by a number of seconds.
    ``invoke_async``: invokes a function (ARN) with a payload and does not wait.
    """

    ports: Ports
    sweep: SweepPorts
    mark_conversions: Callable[[Sequence[Conversion]], None]
    record_mail_event: Callable[[dict[str, Any]], RecordedMailEvent]
    forget: Callable[[str, str], dict[str, int]]
    db_deadline: Callable[[float], AbstractContextManager[Any]]
    invoke_async: Callable[[str, dict[str, Any]], None]
    clock: Clock
    observability: Observability
