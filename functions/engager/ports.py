"""What activations are executed with: the ports of `engager.engage`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engager.channels.outbound import Prepare
from engager.controls import Control
from engager.ledger.states import Content, Held, Outcome, State
from engager.render import Templates
from engager.rulesets import Brief
from shared.clock import Clock
from shared.contracts import Activation
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
        held: Held | None = None,
    ) -> bool: ...
    def hold(self, held: Held, reason: str, *, seen: Held | None = None) -> bool: ...
    def put_off(self, held: Held, reason: str) -> None: ...
    def settle(self, activation_id: str, outcome: Outcome) -> None: ...
    def keep(self, activation: Activation, content: Content, variant: str | None = None) -> Content | None: ...
    def suppress(self, activations: Sequence[Activation]) -> None: ...


class Briefs(Protocol):
    """Campaign and sender of an activation."""

    def brief(self, activation: Activation, current: int = 0) -> Brief: ...


class Customers(Protocol):
    """What is known of a user; ``None`` for an unknown one."""

    def attributes(self, site: str, user: str) -> dict[str, Any] | None: ...


class Controls(Protocol):
    """What is paused at a site, and which ruleset and targets are current."""

    def of(self, site: str) -> Control: ...


class OptOuts(Protocol):
    """Who has opted out of a channel."""

    def has(self, site: str, user: str, channel: str) -> bool: ...


class Targets(Protocol):
    """Who is a target of a campaign now."""

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool: ...


class Ceilings(Protocol):
    """Sends per minute: takes one of the places of this minute, if one is left."""

    def take(self, site: str, channel: str, most: int, now: int) -> bool: ...
    def give_back(self, site: str, channel: str, now: int) -> None: ...


class Goals(Protocol):
    """Whether a goal was reached before its activation had a row, and is to call it back."""

    def reached(self, activation_id: str) -> bool: ...


class Forgotten(Protocol):
    """Who is forgotten: their activations come back suppressed and without names."""

    def without_names(self, activations: Sequence[Activation]) -> list[Activation]: ...


@dataclass(frozen=True)
class Ports:
    """All of them. ``outward``: the channels with an effect outside, by name.

    ``unsubscribe_url``: of site, user and channel. ``tombstones``: who is forgotten as far as memory knows, for popups.
    """

    rulesets: Briefs
    customers: Customers
    ledger: Ledger
    templates: Templates
    outward: Mapping[str, Prepare]
    controls: Controls
    opt_outs: OptOuts
    targets: Targets
    ceilings: Ceilings
    goals: Goals
    forgotten: Forgotten
    tombstones: Forgotten
    unsubscribe_url: Callable[[str, str, str], str]
    clock: Clock
