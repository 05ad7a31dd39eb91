"""What can become of an activation: the ledger's states, and the error for what never can be delivered."""

from enum import StrEnum
from typing import Any, NamedTuple

from shared.contracts import Activation
from shared.errors import OpportuneError

Content = dict[str, Any]


class State(StrEnum):
    """The state of an activation's row in the ledger."""

    SENDING = "sending"
    SENT = "sent"
    FAILED_RETRYABLE = "failed_retryable"
    FAILED_FINAL = "failed_final"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    HELD_OUT = "held_out"
    DROPPED_LATE = "dropped_late"
    HELD = "held"


class Outcome(NamedTuple):
    """What came of one delivery.

    ``state`` is ``None`` where another invocation has, or had, the activation. ``reason`` is a code,
    ``provider_id`` the provider's id of what it accepted, ``content`` a rendered popup.
    """

    state: State | None
    reason: str | None = None
    provider_id: str | None = None
    content: Content | None = None


class Held(NamedTuple):
    """An activation that waits in the ledger.

    ``until``: ms, when to look at it again. ``since``: ms, from when it counts as late. ``failing``: ms, since when
    its release fails, 0 where it does not. ``converted``: its goal was reached meanwhile.
    """

    activation: Activation
    until: int
    since: int
    failing: int = 0
    converted: bool = False


class Undeliverable(OpportuneError):
    """An activation that can never be delivered; ``code`` is the reason that the ledger keeps."""

    code = "undeliverable"


def due(activation: Activation) -> int:
    """Return when (ms) *activation* is to be delivered: at once, or after its delay."""
    return activation.due or activation.at


def recorded(activation: Activation) -> State:
    """Return the state of *activation* where a gate of the Decider has stopped it."""
    return State.HELD_OUT if activation.suppressed == "holdout" else State.SUPPRESSED
