"""The Engager's ports in memory, for tests of its use case and its handler."""

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engager.controls import Control
from engager.ledger.backlog import Left, Way
from engager.ledger.states import Content, Held, Outcome, State, due, recorded
from engager.ports import Ports
from engager.render import Templates
from engager.rulesets import Brief, Rulesets
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Ruleset

NOW = 1_790_000_000_000


@dataclass
class FakeLedger:
    """A ledger in a dict: state and reason, content, variant, or what is held, by activation id."""

    rows: dict[str, tuple[State, str | None]] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    variants: dict[str, str | None] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    bulks: list[int] = field(default_factory=list)
    in_progress: set[str] = field(default_factory=set)

    def claim(
        self,
        activation: Activation,
        state: State = State.SENDING,
        reason: str | None = None,
        *,
        variant: str | None = None,
        held: Held | None = None,
    ) -> bool:
        """Take a new, a refused, or a held activation."""
        if activation.id in self.in_progress:
            raise Unavailable("being sent", code="in_progress")
        if not self._takeable(activation, held):
            return False
        self.rows[activation.id] = (state, reason)
        self.users[activation.id] = activation.user
        self.variants[activation.id] = variant
        return True

    def hold(self, held: Held, reason: str, *, seen: Held | None = None) -> bool:
        """Hold it."""
        if not self._takeable(held.activation, seen):
            return False
        self.put_off(held, reason)
        return True

    def put_off(self, held: Held, reason: str) -> None:
        """Hold it, whatever it was."""
        self.rows[held.activation.id] = (State.HELD, reason)
        self.held[held.activation.id] = held

    def settle(self, activation_id: str, outcome: Outcome) -> None:
        """Write the outcome down."""
        assert outcome.state is not None
        self.rows[activation_id] = (outcome.state, outcome.reason)

    def keep(self, activation: Activation, content: Content, variant: str | None = None) -> Content | None:
        """Store the first content."""
        self.rows.setdefault(activation.id, (State.SENT, None))
        self.variants.setdefault(activation.id, variant)
        return self.contents.setdefault(activation.id, content)

    def suppress(self, activations: Sequence[Activation]) -> None:
        """Record suppressions in one write."""
        self.bulks.append(len(activations))
        for activation in activations:
            self.rows.setdefault(activation.id, (recorded(activation), activation.suppressed))
            self.users.setdefault(activation.id, activation.user)

    def _takeable(self, activation: Activation, seen: Held | None) -> bool:
        state = self.rows.get(activation.id, (None,))[0]
        if seen is not None:
            return state is State.HELD and self.held[activation.id].until == seen.until
        return state in (None, State.FAILED_RETRYABLE)


@dataclass
class World:
    """All other ports in one, and what became of them. ``failing``: users whose look-up raises."""

    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    control: Control = field(default_factory=Control)
    opted_out: set[tuple[str, str]] = field(default_factory=set)
    target_of: set[tuple[str, str]] = field(default_factory=set)
    places: int = 1_000_000
    forgotten: set[str] = field(default_factory=set)
    converted: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=lambda: [Outcome(State.SENT, provider_id="p1")])
    sent: list[tuple[str, Content]] = field(default_factory=list)
    now: int = NOW
    ledger: FakeLedger = field(default_factory=FakeLedger)
    waiting: list[Held] = field(default_factory=list)

    def attributes(self, site: str, user: str) -> dict[str, Any] | None:  # noqa: ARG002 - one site
        """Return what is known of a user, or fail."""
        if user in self.failing:
            raise self.failing[user]
        return self.known.get(user)

    def of(self, site: str) -> Control:  # noqa: ARG002 - one site
        """Return the control."""
        return self.control

    def has(self, site: str, user: str, channel: str) -> bool:  # noqa: ARG002 - one site
        """Return whether a user has opted out."""
        return (user, channel) in self.opted_out

    def is_target(self, site: str, generation: int, user: str, campaign: Campaign) -> bool:  # noqa: ARG002 - one site
        """Return whether a user is a target."""
        return (user, campaign.id) in self.target_of

    def take(self, site: str, channel: str, most: int, now: int) -> bool:  # noqa: ARG002 - one channel
        """Take a place of this minute."""
        self.places -= 1
        return self.places >= 0

    def give_back(self, site: str, channel: str, now: int) -> None:  # noqa: ARG002 - one channel
        """Give a place back."""
        self.places += 1

    def reached(self, activation_id: str) -> bool:
        """Return whether the goal was reached."""
        return activation_id in self.converted

    def without_names(self, activations: Sequence[Activation]) -> list[Activation]:
        """Take the names off those who are forgotten."""
        return [
            msgspec.structs.replace(each, user="forgotten:x", attributes={}, suppressed=each.suppressed or "forgotten")
            if each.user in self.forgotten
            else each
            for each in activations
        ]

    def prepare(
        self,
        activation: Activation,
        brief: Brief,  # noqa: ARG002 - one signature for all
        customer: Mapping[str, Any],  # noqa: ARG002
        content: Content,
    ) -> Callable[[], Outcome]:
        """Prepare a call that answers with one outcome after the other, the last one for good."""

        def call() -> Outcome:
            assert self.ledger.rows[activation.id] == (State.SENDING, None)
            self.sent.append((activation.id, content))
            return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]

        return call

    def settle_stale(self) -> int:
        """Find nothing stale."""
        return 0

    def due(self, closed: AbstractSet[Way] = frozenset()) -> Generator[Held, None, None]:
        """Yield what waits."""
        for held in list(self.waiting):
            activation = held.activation
            ways = {
                Way(activation.site, "channel", activation.channel),
                Way(activation.site, "campaign", activation.campaign),
            }
            if not ways & closed:
                yield held

    def left(self) -> Left:
        """Count what is held."""
        return Left(sum(state is State.HELD for state, _ in self.ledger.rows.values()), 3)

    def ports(self, ruleset: Ruleset) -> Ports:
        """Return the ports under *ruleset*."""
        return Ports(
            rulesets=Rulesets(lambda _site, _version: ruleset),
            customers=self,
            ledger=self.ledger,
            templates=Templates(),
            outward={"email": self.prepare, "webhook": self.prepare},
            controls=self,
            opt_outs=self,
            targets=self,
            ceilings=self,
            goals=self,
            forgotten=self,
            tombstones=self,
            unsubscribe_url=lambda site, user, channel: f"https://p.example/{site}/{user}/{channel}",
            clock=lambda: self.now,
        )

    def hold(self, activation: Activation, *, until: int, since: int | None = None) -> Held:
        """Hold *activation*, as a sweep would find it."""
        held = Held(activation, until, due(activation) if since is None else since)
        self.ledger.put_off(held, "paused")
        self.waiting.append(held)
        return held
