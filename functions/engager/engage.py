"""Execute an activation: record it, pass it through the gates, render it, deliver it by its channel.

    popup    gates ─▶ render ─▶ keep: the content is the effect
    others   still live? ─▶ gates ─▶ render, prepare ─▶ ceiling ─▶ claim ─▶ the provider's one call ─▶ settle
               └─ hold: the ledger keeps it, and a sweep begins again from the gates

Everything that can fail by itself comes before the claim: between claim and answer lies only the call.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from engager import gates
from engager.channels.popup import popup
from engager.gates import Case, Hold, Stop
from engager.ledger.states import Content, Held, Outcome, State, Undeliverable, due, recorded
from engager.ports import Ports
from engager.rulesets import Brief
from engager.send_rate_limiter import next_minute
from engager.variants import variant_of, with_content
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Variant

POPUP = "popup"
# A receiver of its own choice: the only channel whose receiver is not the customer.
TO_OTHERS = frozenset({"webhook"})
TRY_AGAIN_MS = 60_000


def engage(activation: Activation, ports: Ports, held: Held | None = None) -> Outcome:
    """Execute *activation* and return the outcome; a repeat of it delivers nothing again.

    *held*: what the sweep has found; whoever claims it first delivers it. Raises `Unavailable` where it must be
    tried again later: the database is away, the provider throttles.
    """
    if activation.suppressed:
        ports.ledger.suppress([activation])
        return Outcome(recorded(activation), activation.suppressed)
    try:
        return _show(activation, ports) if activation.channel == POPUP else _send(activation, ports, held)
    except Undeliverable as error:
        return _stop(activation, Stop(State.FAILED_FINAL, error.code), ports, held)


def _show(activation: Activation, ports: Ports) -> Outcome:
    (known,) = ports.tombstones.without_names([activation])
    if known.suppressed:
        ports.ledger.suppress([known])
        return Outcome(recorded(known), known.suppressed)
    paused = ports.controls.of(activation.site).stops(activation)
    brief = ports.rulesets.brief(activation)
    customer = ports.customers.attributes(activation.site, activation.user) or {}
    case = Case(ports.clock(), activation, brief.campaign, due(activation), customer, paused)
    verdict = gates.judge_popup(case)
    if isinstance(verdict, Stop):
        return _stop(activation, verdict, ports)
    variant = variant_of(brief.campaign, activation.site, activation.user)
    chosen = variant.id if variant else None
    rendered = _render(activation, brief, variant, customer, ports)
    content = popup(activation, rendered, chosen, brief.campaign.priority)
    kept = ports.ledger.keep(activation, content, chosen)
    return Outcome(State.SENT if kept is content else None, content=kept)


def _send(activation: Activation, ports: Ports, held: Held | None) -> Outcome:
    (known,) = ports.forgotten.without_names([activation])
    if known.suppressed:
        return _stop(known, Stop(recorded(known), known.suppressed), ports, held)
    brief = ports.rulesets.brief(activation, ports.controls.of(activation.site).ruleset)
    if brief.present is None:
        return _stop(activation, Stop(State.SUPPRESSED, "withdrawn"), ports, held)
    if brief.present.cancel_on_goal and _is_reached(activation, brief.present, ports, held):
        return _stop(activation, Stop(State.SUPPRESSED, "goal"), ports, held)
    prepare = ports.outward.get(activation.channel)
    if prepare is None:
        raise Undeliverable(f"channel {activation.channel} is not offered", code="no_channel")
    customer = ports.customers.attributes(activation.site, activation.user)
    if customer is None and activation.channel not in TO_OTHERS:
        raise Undeliverable("nobody knows this user", code="no_customer")
    since = held.since if held else due(activation)
    verdict = gates.judge(_case(activation, brief, brief.present, customer or {}, since, ports))
    if isinstance(verdict, Stop):
        return _stop(activation, verdict, ports, held)
    if isinstance(verdict, Hold):
        return _hold(activation, verdict, ports, held)
    variant = variant_of(brief.campaign, activation.site, activation.user)
    call = prepare(activation, brief, customer or {}, _render(activation, brief, variant, customer or {}, ports))
    now = ports.clock()
    if brief.rate is not None and not ports.ceilings.take(activation.site, activation.channel, brief.rate, now):
        return _hold(activation, Hold("ceiling", next_minute(now), since), ports, held)
    claimed = False
    try:
        claimed = ports.ledger.claim(activation, variant=variant.id if variant else None, held=held)
    finally:
        if not claimed and brief.rate is not None:
            _give_back(activation, now, ports)
    return _settle(activation, call(), ports, held) if claimed else Outcome(None)


def _is_reached(activation: Activation, present: Campaign, ports: Ports, held: Held | None) -> bool:
    return bool(held and held.converted) or (present.goal is not None and ports.goals.reached(activation.id))


def _give_back(activation: Activation, now: int, ports: Ports) -> None:
    with suppress(Unavailable):  # the place is lost, and comes again with the next minute
        ports.ceilings.give_back(activation.site, activation.channel, now)


def _settle(activation: Activation, outcome: Outcome, ports: Ports, held: Held | None) -> Outcome:
    if outcome.state is not State.FAILED_RETRYABLE:
        ports.ledger.settle(activation.id, outcome)
        return outcome
    if held is None:
        ports.ledger.settle(activation.id, outcome)
        raise Unavailable("the provider takes nothing now", code="provider_throttled")
    # No message of the queue stands behind it any more: the ledger is where it waits.
    reason = outcome.reason or "provider_throttled"
    ports.ledger.put_off(held._replace(until=ports.clock() + TRY_AGAIN_MS, failing=0), reason)
    return Outcome(State.HELD, reason)


def _case(
    activation: Activation, brief: Brief, present: Campaign, customer: Mapping[str, Any], since: int, ports: Ports
) -> Case:
    site, user, channel = activation.site, activation.user, activation.channel
    control = ports.controls.of(site)
    is_target = True
    if due(activation) > activation.at and not present.everyone:
        is_target = ports.targets.is_target(site, control.generation, user, present)
    return Case(
        now=ports.clock(),
        activation=activation,
        campaign=present,
        since=since,
        customer=customer,
        paused=control.stops(activation),
        opted_out=ports.opt_outs.has(site, user, channel),
        consent=brief.consent,
        is_target=is_target,
    )


def _stop(activation: Activation, stop: Stop, ports: Ports, held: Held | None = None) -> Outcome:
    taken = ports.ledger.claim(activation, stop.state, stop.reason, held=held)
    return Outcome(stop.state if taken else None, stop.reason)


def _hold(activation: Activation, hold: Hold, ports: Ports, seen: Held | None) -> Outcome:
    kept = ports.ledger.hold(Held(activation, hold.until, hold.since), hold.reason, seen=seen)
    return Outcome(State.HELD if kept else None, hold.reason)


def _render(
    activation: Activation, brief: Brief, variant: Variant | None, customer: Mapping[str, Any], ports: Ports
) -> Content:
    site: dict[str, Any] = {"id": activation.site}
    if activation.channel != POPUP:
        site["unsubscribe_url"] = ports.unsubscribe_url(activation.site, activation.user, activation.channel)
    variables = {
        "customer": {"id": activation.user, **customer},
        "event": activation.attributes,
        "site": site,
        "campaign": {"id": brief.campaign.id, "name": brief.campaign.name},
    }
    campaign = with_content(brief.campaign, variant)
    return ports.templates.render(activation.site, activation.ruleset, campaign, variables)
