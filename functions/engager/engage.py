"""Execute an activation: record it, render it, deliver it by its channel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engager.email import Mail, compose
from engager.outcome import Content, Outcome, State, Undeliverable
from engager.popup import popup
from engager.render import Templates
from engager.rulesets import Brief
from shared.contracts import Activation
from shared.errors import Unavailable


class Ledger(Protocol):
    """The record of every activation; see `engager.ledger`."""

    def claim(self, activation: Activation, state: State = State.SENDING, reason: str | None = None) -> bool: ...
    def settle(self, activation_id: str, outcome: Outcome) -> None: ...
    def keep(self, activation: Activation, content: Content) -> Content | None: ...
    def suppress(self, activations: Sequence[Activation]) -> None: ...


class Briefs(Protocol):
    """Campaign and sender of an activation."""

    def brief(self, activation: Activation) -> Brief: ...


class Customers(Protocol):
    """What is known of a user; ``None`` for an unknown one."""

    def attributes(self, site: str, user: str) -> dict[str, Any] | None: ...


SendEmail = Callable[[Mail], Outcome]


@dataclass(frozen=True)
class Ports:
    """What activations are executed with."""

    rulesets: Briefs
    customers: Customers
    ledger: Ledger
    templates: Templates
    send_email: SendEmail


def engage(activation: Activation, ports: Ports) -> Outcome:
    """Execute *activation* and return the outcome; a repeat of it delivers nothing again.

    Raises `Unavailable` where it must be tried again later: the database is away, the provider throttles.
    """
    if activation.suppressed:
        ports.ledger.suppress([activation])
        return Outcome(State.SUPPRESSED, activation.suppressed)
    try:
        return CHANNELS.get(activation.channel, _refuse)(activation, ports)
    except Undeliverable as error:
        taken = ports.ledger.claim(activation, State.FAILED_FINAL, error.code)
        return Outcome(State.FAILED_FINAL if taken else None, error.code)


def _show(activation: Activation, ports: Ports) -> Outcome:
    brief = ports.rulesets.brief(activation)
    customer = ports.customers.attributes(activation.site, activation.user) or {}
    content = popup(activation, _render(activation, brief, customer, ports))
    kept = ports.ledger.keep(activation, content)
    return Outcome(State.SENT if kept is content else None, content=kept)


def _send(activation: Activation, ports: Ports) -> Outcome:
    # Everything that can fail by itself comes before the claim: between claim and answer lies only the call.
    brief = ports.rulesets.brief(activation)
    customer = ports.customers.attributes(activation.site, activation.user)
    if customer is None:
        raise Undeliverable("nobody knows this user", code="no_customer")
    content = _render(activation, brief, customer, ports)
    mail = compose(activation.id, brief.sender, customer.get("email"), content)
    if not ports.ledger.claim(activation):
        return Outcome(None)
    outcome = ports.send_email(mail)
    ports.ledger.settle(activation.id, outcome)
    if outcome.state is State.FAILED_RETRYABLE:
        raise Unavailable("the provider takes no e-mail now", code="provider_throttled")
    return outcome


def _refuse(activation: Activation, ports: Ports) -> Outcome:  # noqa: ARG001 - one signature for all channels
    raise Undeliverable(f"channel {activation.channel} is not offered", code="no_channel")


def _render(activation: Activation, brief: Brief, customer: Mapping[str, Any], ports: Ports) -> Content:
    variables = {
        "customer": customer,
        "event": activation.attributes,
        "site": {"id": activation.site},
        "campaign": {"id": brief.campaign.id, "name": brief.campaign.name},
    }
    return ports.templates.render(activation.site, activation.ruleset, brief.campaign, variables)


CHANNELS: dict[str, Callable[[Activation, Ports], Outcome]] = {"popup": _show, "email": _send}
