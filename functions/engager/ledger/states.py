"""The states of an activation in the ledger, and the results that lead to them."""

from enum import StrEnum
from typing import Any, NamedTuple

from shared.contracts import Activation
from shared.errors import OpportuneError

RenderedContent = dict[str, Any]


class State(StrEnum):
    """The state of an activation's row in the ledger; docs/delivery.md describes each."""

    SENDING = "sending"
    SENT = "sent"
    HELD = "held"
    FAILED_RETRYABLE = "failed_retryable"
    FAILED_FINAL = "failed_final"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    HELD_OUT = "held_out"
    DROPPED_LATE = "dropped_late"


# An activation in one of these states was not sent, and can still be recalled.
NOT_YET_SENT = (State.HELD, State.FAILED_RETRYABLE)


class DeliveryResult(NamedTuple):
    """The result of one delivery.

    ``state``: of the row now; ``None`` if another invocation has, or had, the activation.
    ``reason``: a code.
    ``provider_id``: the provider's id of the message that it accepted.
    ``content``: a rendered popup.
    """

    state: State | None
    reason: str | None = None
    provider_id: str | None = None
    content: RenderedContent | None = None


class HeldActivation(NamedTuple):
    """An activation that the ledger holds for a later delivery.

    ``until``: ms, when a sweep checks it again.
    ``expected_at``: ms, when it should have been delivered; its lateness counts from here.
    ``failing_since``: ms, since when its release fails; 0 if it does not.
    ``converted``: whether its goal was reached meanwhile.
    """

    activation: Activation
    until: int
    expected_at: int
    failing_since: int = 0
    converted: bool = False


class Undeliverable(OpportuneError):
    """An activation that can never be delivered. ``code`` becomes the reason in the ledger."""

    code = "undeliverable"


def due_at(activation: Activation) -> int:
    """Return when (ms) *activation* is to be delivered: at its match, or after its delay."""
    return activation.due or activation.at


def suppressed_state(activation: Activation) -> State:
    """Return the state of an *activation* that a gate of the Decider stopped."""
    return State.HELD_OUT if activation.suppressed == "holdout" else State.SUPPRESSED
