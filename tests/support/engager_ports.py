"""The Engager's ports in memory, for tests of its use cases and its handler."""

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engager.channels.channel import OutboundChannel
from engager.controls import Control
from engager.ledger.backlog import BacklogCounts, Exclusion
from engager.ledger.states import DeliveryResult, HeldActivation, RenderedContent, State, due_at, suppressed_state
from engager.ports import Ports
from engager.render import Templates
from engager.rulesets import DeliveryContext, Rulesets
from engager.send_blocks import SendBlock
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Ruleset

NOW = 1_790_000_000_000


@dataclass
class FakeLedger:
    """A ledger in dicts by activation id.

    ``rows``: state and reason. ``bulks``: the sizes of bulk writes. ``in_progress``: another Engager is sending these.
    ``recalled``: these were recalled while they were being sent, and why.
    """

    rows: dict[str, tuple[State, str | None]] = field(default_factory=dict)
    contents: dict[str, RenderedContent] = field(default_factory=dict)
    variants: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, HeldActivation] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    bulks: list[int] = field(default_factory=list)
    in_progress: set[str] = field(default_factory=set)
    recalled: dict[str, str] = field(default_factory=dict)

    def claim(
        self,
        activation: Activation,
        state: State = State.SENDING,
        reason: str | None = None,
        *,
        variant: str | None = None,
        held: HeldActivation | None = None,
    ) -> bool:
        """Claim a new, a refused or a held activation."""
        if activation.id in self.in_progress:
            raise Unavailable("being sent", code="in_progress")
        if not self._claimable(activation, held):
            return False
        self.rows[activation.id] = (state, reason)
        self.users[activation.id] = activation.user
        self.variants[activation.id] = variant
        return True

    def hold(self, held: HeldActivation, reason: str, *, found: HeldActivation | None = None) -> bool:
        """Hold an activation that can be claimed."""
        if not self._claimable(held.activation, found):
            return False
        self.hold_claimed(held, reason)
        return True

    def hold_claimed(self, held: HeldActivation, reason: str) -> DeliveryResult:
        """Hold an activation in any state."""
        self.held[held.activation.id] = held
        return self.settle(held.activation.id, DeliveryResult(State.HELD, reason))

    def settle(self, activation_id: str, result: DeliveryResult) -> DeliveryResult:
        """Record the result, or the recall of what was refused."""
        if result.state in (State.HELD, State.FAILED_RETRYABLE) and activation_id in self.recalled:
            result = DeliveryResult(State.SUPPRESSED, self.recalled[activation_id])
        assert result.state is not None
        self.rows[activation_id] = (result.state, result.reason)
        return result

    def store_popup(
        self, activation: Activation, content: RenderedContent, variant: str | None = None
    ) -> RenderedContent | None:
        """Store the first content."""
        self.rows.setdefault(activation.id, (State.SENT, None))
        self.variants.setdefault(activation.id, variant)
        return self.contents.setdefault(activation.id, content)

    def record_suppressed(self, activations: Sequence[Activation]) -> set[str]:
        """Record suppressed activations in one write."""
        self.bulks.append(len(activations))
        existing = {activation.id for activation in activations} & set(self.rows)
        for activation in activations:
            self.rows.setdefault(activation.id, (suppressed_state(activation), activation.suppressed))
            self.users.setdefault(activation.id, activation.user)
        return existing

    def _claimable(self, activation: Activation, found: HeldActivation | None) -> bool:
        state = self.rows.get(activation.id, (None,))[0]
        if found is not None:
            return state is State.HELD and self.held[activation.id].until == found.until
        return state in (None, State.FAILED_RETRYABLE)


@dataclass
class World:
    """All other ports in one object, and a record of what happened.

    ``failing``: users whose look-up raises. ``sends_left``: what the rate limit still allows.
    """

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    control: Control = field(default_factory=Control)
    opted_out: set[tuple[str, str]] = field(default_factory=set)
    target_of: set[tuple[str, str]] = field(default_factory=set)
    sends_left: int = 1_000_000
    forgotten: set[str] = field(default_factory=set)
    converted: set[str] = field(default_factory=set)
    results: list[DeliveryResult] = field(default_factory=lambda: [DeliveryResult(State.SENT, provider_id="p1")])
    sent: list[tuple[str, RenderedContent]] = field(default_factory=list)
    now: int = NOW
    ledger: FakeLedger = field(default_factory=FakeLedger)
    waiting: list[HeldActivation] = field(default_factory=list)

    def attributes(self, site: str, user: str) -> dict[str, Any] | None:  # noqa: ARG002 - one site
        """Return the attributes of a user, or fail."""
        if user in self.failing:
            raise self.failing[user]
        return self.known.get(user)

    def of(self, site: str) -> Control:  # noqa: ARG002 - one site
        """Return the site's controls."""
        return self.control

    def reload(self, site: str) -> Control:
        """Return the site's controls, read again."""
        return self.of(site)

    def read(self, activation: Activation) -> SendBlock:
        """Return whether the user has opted out, and whether a pause covers the message."""
        opted_out = (activation.user, activation.channel) in self.opted_out
        return SendBlock(opted_out, self.control.pauses(activation))

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool:  # noqa: ARG002 - one site
        """Return whether a user is a target."""
        return (user, campaign.id) in self.target_of

    def acquire(self, site: str, channel: str, limit: int, now: int) -> bool:  # noqa: ARG002 - one channel
        """Count one message."""
        self.sends_left -= 1
        return self.sends_left >= 0

    def release(self, site: str, channel: str, now: int) -> None:  # noqa: ARG002 - one channel
        """Take back one message."""
        self.sends_left += 1

    def reached(self, activation_id: str) -> bool:
        """Return whether the goal was reached."""
        return activation_id in self.converted

    def pseudonymise_forgotten(self, activations: Sequence[Activation]) -> list[Activation]:
        """Return the activations, those of forgotten users under a pseudonym."""
        return [
            msgspec.structs.replace(each, user="forgotten:x", attributes={}, suppressed=each.suppressed or "forgotten")
            if each.user in self.forgotten
            else each
            for each in activations
        ]

    def prepare(
        self,
        activation: Activation,
        context: DeliveryContext,  # noqa: ARG002 - one signature for all channels
        customer: Mapping[str, Any],  # noqa: ARG002
        content: RenderedContent,
    ) -> Callable[[], DeliveryResult]:
        """Prepare a call that returns one of the results after the other, and then the last one again."""

        def call() -> DeliveryResult:
            assert self.ledger.rows[activation.id] == (State.SENDING, None)
            self.sent.append((activation.id, content))
            return self.results.pop(0) if len(self.results) > 1 else self.results[0]

        return call

    def mark_interrupted(self) -> int:
        """Find nothing that was interrupted."""
        return 0

    def due(self, excluded: AbstractSet[Exclusion] = frozenset()) -> Generator[HeldActivation, None, None]:
        """Yield the waiting activations."""
        for held in list(self.waiting):
            activation = held.activation
            exclusions = {
                Exclusion(activation.site, "channel", activation.channel),
                Exclusion(activation.site, "campaign", activation.campaign),
            }
            if not exclusions & excluded:
                yield held

    def count(self) -> BacklogCounts:
        """Count the held rows; three rows are unknown for long."""
        return BacklogCounts(sum(state is State.HELD for state, _ in self.ledger.rows.values()), 3)

    def ports(self, ruleset: Ruleset) -> Ports:
        """Return the ports with *ruleset*."""
        return Ports(
            rulesets=Rulesets(lambda _site, _version: ruleset),
            customers=self,
            ledger=self.ledger,
            templates=Templates(),
            outbound={
                "email": OutboundChannel(self.prepare),
                "webhook": OutboundChannel(self.prepare, needs_customer=False),
            },
            controls=self,
            send_blocks=self,
            targets=self,
            send_rate_limiter=self,
            goals=self,
            tombstones=self,
            cached_tombstones=self,
            unsubscribe_url=lambda site, user, channel: f"https://p.example/{site}/{user}/{channel}",
            clock=lambda: self.now,
        )

    def hold(self, activation: Activation, *, until: int, expected_at: int | None = None) -> HeldActivation:
        """Hold *activation*, as a sweep would find it."""
        held = HeldActivation(activation, until, due_at(activation) if expected_at is None else expected_at)
        self.ledger.hold_claimed(held, "paused")
        self.waiting.append(held)
        return held
