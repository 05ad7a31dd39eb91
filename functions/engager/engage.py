"""Execute an activation: check the gates, render the content, deliver it, and record the result in the ledger.

    popup    gates ─▶ render ─▶ store: the content is the delivery
    message  still live? ─▶ gates ─▶ render, prepare ─▶ rate limit ─▶ claim ─▶ one provider call ─▶ settle
               └─ hold: the ledger keeps the activation, and a sweep starts again at the gates

Everything that can fail by itself comes before the claim. Between claim and settlement there is only the call.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from engager import gates
from engager.channels import popup
from engager.channels.channel import composing
from engager.controls import Control
from engager.gates import GateInput, Hold, Stop
from engager.ledger.states import (
    DeliveryResult,
    HeldActivation,
    RenderedContent,
    State,
    Undeliverable,
    due_at,
    suppressed_state,
)
from engager.ports import Ports
from engager.rulesets import DeliveryContext
from engager.send_rate_limiter import next_minute
from engager.variants import variant_of, with_content
from shared.context import ROOT
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Variant
from shared.targets import GenerationDropped

POPUP = "popup"
RETRY_MS = 60_000


def engage(activation: Activation, ports: Ports, held: HeldActivation | None = None) -> DeliveryResult:
    """Execute *activation* and return the result. A repeat delivers nothing again.

    *held*: what a sweep found; ``None`` for a new activation.
    Raises `Unavailable` if it has to be retried: the database does not answer, or the provider throttles.
    """
    if activation.suppressed:
        return _record_suppressed(activation, ports)
    try:
        if activation.channel == POPUP:
            return _deliver_popup(activation, ports)
        return _deliver_message(activation, ports, held)
    except Undeliverable as error:
        return _stop(activation, Stop(State.FAILED_FINAL, error.code), ports, held)


def _record_suppressed(activation: Activation, ports: Ports) -> DeliveryResult:
    ports.ledger.record_suppressed([activation])
    return DeliveryResult(suppressed_state(activation), activation.suppressed)


def _deliver_popup(activation: Activation, ports: Ports) -> DeliveryResult:
    (known,) = ports.cached_tombstones.pseudonymise_forgotten([activation])
    if known.suppressed:
        return _record_suppressed(known, ports)
    paused = ports.controls.of(activation.site).pauses(activation)
    context = ports.rulesets.delivery_context(activation)
    customer = gates.with_zone(ports.customers.attributes(activation.site, activation.user) or {}, activation)
    verdict = gates.check_popup(
        GateInput(ports.clock(), activation, context.campaign, due_at(activation), customer, paused)
    )
    if isinstance(verdict, Stop):
        return _stop(activation, verdict, ports)
    variant = variant_of(context.campaign, activation.site, activation.user)
    variant_id = variant.id if variant else None
    rendered = _render(activation, context, variant, customer, ports)
    with composing():
        content = popup.compose(activation, rendered, variant_id, context.campaign.priority)
    stored = ports.ledger.store_popup(activation, content, variant_id)
    return DeliveryResult(State.SENT if stored is content else None, content=stored)


def _deliver_message(activation: Activation, ports: Ports, held: HeldActivation | None) -> DeliveryResult:
    (known,) = ports.tombstones.pseudonymise_forgotten([activation])
    if known.suppressed:
        return _stop(known, Stop(suppressed_state(known), known.suppressed), ports, held)
    context = ports.rulesets.delivery_context(activation, ports.controls.of(activation.site).ruleset)
    if context.live is None:
        return _stop(activation, Stop(State.SUPPRESSED, "withdrawn"), ports, held)
    if context.live.cancel_on_goal and _goal_reached(activation, context.live, ports, held):
        return _stop(activation, Stop(State.SUPPRESSED, "goal"), ports, held)
    channel = ports.outbound.get(activation.channel)
    if channel is None:
        raise Undeliverable(f"there is no channel {activation.channel}", code="no_channel")
    stored = ports.customers.attributes(activation.site, activation.user)
    if stored is None and channel.needs_customer:
        raise Undeliverable("the user is not a known customer", code="no_customer")
    customer = gates.with_zone(stored or {}, activation)
    expected_at = held.expected_at if held else due_at(activation)
    verdict = gates.check_message(_gate_input(activation, context, context.live, customer, expected_at, ports))
    if isinstance(verdict, Stop):
        return _stop(activation, verdict, ports, held)
    if isinstance(verdict, Hold):
        return _hold(activation, verdict, ports, held)
    variant = variant_of(context.campaign, activation.site, activation.user)
    call = channel.prepare(activation, context, customer, _render(activation, context, variant, customer, ports))
    now = ports.clock()
    limit = context.sends_per_minute
    if limit is not None and not ports.send_rate_limiter.acquire(activation.site, activation.channel, limit, now):
        return _hold(activation, Hold("rate_limit", next_minute(now), expected_at), ports, held)
    claimed = False
    try:
        claimed = ports.ledger.claim(activation, variant=variant.id if variant else None, held=held)
    finally:
        if not claimed and limit is not None:
            with suppress(Unavailable):  # then this minute has room for one message less
                ports.send_rate_limiter.release(activation.site, activation.channel, now)
    return _settle(activation, call(), ports, held) if claimed else DeliveryResult(None)


def _goal_reached(activation: Activation, live: Campaign, ports: Ports, held: HeldActivation | None) -> bool:
    return bool(held and held.converted) or (live.goal is not None and ports.goals.reached(activation.id))


def _settle(
    activation: Activation, result: DeliveryResult, ports: Ports, held: HeldActivation | None
) -> DeliveryResult:
    if result.state is State.FAILED_RETRYABLE and held is not None:
        # The queue has no message for a held activation, so the ledger holds it until the retry.
        reason = result.reason or "provider_throttled"
        return ports.ledger.hold_claimed(held._replace(until=ports.clock() + RETRY_MS, failing_since=0), reason)
    settled = ports.ledger.settle(activation.id, result)
    if settled.state is State.FAILED_RETRYABLE:
        raise Unavailable("the provider refused the message for now", code="provider_throttled")
    return settled


def _gate_input(
    activation: Activation,
    context: DeliveryContext,
    live: Campaign,
    customer: Mapping[str, Any],
    expected_at: int,
    ports: Ports,
) -> GateInput:
    is_target = True
    if due_at(activation) > activation.at and not live.everyone:
        is_target = _is_target(activation, live, ports.controls.of(activation.site), ports)
    block = ports.send_blocks.read(activation)
    return GateInput(
        now=ports.clock(),
        activation=activation,
        campaign=live,
        expected_at=expected_at,
        customer=customer,
        paused=block.paused,
        opted_out=block.opted_out,
        consent=context.consent,
        is_target=is_target,
    )


def _is_target(activation: Activation, live: Campaign, control: Control, ports: Ports) -> bool:
    site, user = activation.site, activation.user
    try:
        return ports.targets.is_target(site, control.generation, user, live)
    except GenerationDropped:
        return ports.targets.is_target(site, ports.controls.reload(site).generation, user, live)


def _stop(activation: Activation, stop: Stop, ports: Ports, held: HeldActivation | None = None) -> DeliveryResult:
    claimed = ports.ledger.claim(activation, stop.state, stop.reason, held=held)
    return DeliveryResult(stop.state if claimed else None, stop.reason)


def _hold(activation: Activation, hold: Hold, ports: Ports, found: HeldActivation | None) -> DeliveryResult:
    held = HeldActivation(activation, hold.until, hold.expected_at)
    was_held = ports.ledger.hold(held, hold.reason, found=found)
    return DeliveryResult(State.HELD if was_held else None, hold.reason)


def _render(
    activation: Activation,
    context: DeliveryContext,
    variant: Variant | None,
    customer: Mapping[str, Any],
    ports: Ports,
) -> RenderedContent:
    site: dict[str, Any] = {"id": activation.site}
    if activation.channel != POPUP:
        site["unsubscribe_url"] = ports.unsubscribe_url(activation.site, activation.user, activation.channel)
    variables = {
        "customer": {"id": activation.user, **customer},
        "event": activation.attributes,
        ROOT: activation.attributes.get(ROOT) or {},
        "site": site,
        "campaign": {"id": context.campaign.id, "name": context.campaign.name},
    }
    campaign = with_content(context.campaign, variant)
    return ports.templates.render(activation.site, activation.ruleset, campaign, variables)
