"""Explain one user's state per campaign, each with a verdict in one sentence."""

from collections.abc import Sequence

from opportune.operations.deliveries import Delivery
from opportune.operations.why import gates, stages
from opportune.operations.why.model import Answer, CampaignAnswer, Group, PendingMessage, Stage
from opportune.operations.why.snapshot import Snapshot
from opportune.replay.explain import words
from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import InvalidRequest
from shared.ruleset import Campaign

MAX_DECISIONS = 5


def explain(snapshot: Snapshot, campaign: str | None = None) -> Answer:
    """Return the answer for all campaigns, or for one. Raises `InvalidRequest` for an unknown campaign."""
    live = {each.id: each for each in snapshot.ruleset.campaigns}
    if campaign is not None and campaign not in live:
        known = ", ".join(live) or "none"
        raise InvalidRequest(
            f"no campaign {campaign!r} is live at {snapshot.site}; known: {known}", code="unknown_campaign"
        )
    return Answer(
        site=snapshot.site,
        user=snapshot.user,
        now=snapshot.now,
        ruleset=snapshot.state.ruleset,
        generation=snapshot.state.generation,
        is_customer=snapshot.customer is not None,
        notes=_notes(snapshot),
        campaigns=[_told(snapshot, each) for each in ([live[campaign]] if campaign else live.values())],
    )


def _notes(snapshot: Snapshot) -> list[str]:
    state, notes = snapshot.state, []
    if snapshot.customer is None and not snapshot.user.startswith(ANONYMOUS_PREFIX):
        notes.append("this user has not been imported as a customer")
    if state.row is None:
        notes.append("the state store has no row of this user: no recent event of theirs is used by a campaign")
    elif state.known is not None and state.known != (state.ruleset, state.generation):
        ruleset, generation = state.known
        notes.append(
            f"the stored progress belongs to ruleset {ruleset} and targets generation {generation}; "
            "the next event updates it, and triggers that have changed start over"
        )
    if snapshot.live != state.ruleset:
        notes.append(f"ruleset {snapshot.live} is published; the Decider still uses {state.ruleset}, for a few seconds")
    return notes


def _told(snapshot: Snapshot, campaign: Campaign) -> CampaignAnswer:
    counted = dict(snapshot.state.row.counted) if snapshot.state.row else {}
    held = stages.stages(snapshot, campaign)
    waiting = stages.waiting(snapshot, campaign)
    limits = stages.limits(campaign, snapshot.ruleset.caps, counted, snapshot.now)
    closed = gates.closed_gates(gates.GateInput(snapshot, campaign, held, limits))
    trigger = stages.trigger_of(snapshot, campaign)
    code, is_in_way, verdict = _verdict(snapshot, campaign, held, waiting, closed)
    decisions: list[Delivery] = [each for each in snapshot.decisions if each.campaign == campaign.id]
    return CampaignAnswer(
        campaign=campaign.id,
        name=campaign.name,
        channel=campaign.channel,
        trigger=words.sentence(trigger) if trigger else "",
        target=gates.is_target(snapshot, campaign),
        groups=[Group(each, snapshot.groups.get(each)) for each in campaign.groups],
        stages=held,
        waiting=waiting,
        limits=limits,
        decisions=decisions[:MAX_DECISIONS],
        gates=[gate.code for gate in closed],
        code=code,
        is_in_way=is_in_way,
        verdict=verdict[0].upper() + verdict[1:] + ".",
    )


def _verdict(
    snapshot: Snapshot,
    campaign: Campaign,
    held: Sequence[Stage],
    waiting: Sequence[PendingMessage],
    closed: Sequence[gates.ClosedGate],
) -> tuple[str, bool, str]:
    """Return a code, whether something blocks the message, and the verdict."""
    if waiting:
        due = waiting[0].due
        text = f"the trigger has matched; the message will be sent {stages.when(due, snapshot.now)}"
        if due <= snapshot.now:
            at = words.stamp(due, near=snapshot.now)
            text = f"the trigger has matched; the message was due at {at} and is being sent"
        stop = next((gate for gate in closed if gate.delivery), None)
        if stop is not None:
            return stop.code, True, f"{text}; but {stop.sentence}"
        return "waiting", False, text
    if closed:
        return closed[0].code, True, closed[0].sentence
    pending = next((stage for stage in held if stage.due), None)
    if pending is not None:
        return "absence", False, pending.text
    trigger = stages.trigger_of(snapshot, campaign)
    row = snapshot.state.row
    current = next((stage for stage in held if not stage.done), None)
    if current is None:
        return "nothing", False, "nothing blocks it; the first event has not come yet"
    runs = [run for run in (row.runs if row else []) if run.trigger == campaign.trigger.key]
    reached = next((run.reached for run in runs if (run.per or None) == current.per), [])
    left = current.of - current.reached
    needs = f"nothing blocks it; it still needs {words.count(left, 'event')}"
    if trigger is not None:
        following = "" if trigger.all_of or left == 1 else ", next"
        needs += f"{following}: {stages.missing(trigger, reached, snapshot.now)}"
    if current.until is not None:
        needs += f", before {words.stamp(-(-current.until // 1000) * 1000, near=snapshot.now)}"
    return "progress", False, needs
