"""The answer of `opportune why`: the facts of one user, put together per campaign, with one sentence on each."""

from collections.abc import Sequence

from opportune.operations.deliveries import Delivery
from opportune.operations.why import gates, stages
from opportune.operations.why.model import Answer, Group, Stage, Told, Waiting
from opportune.operations.why.snapshot import Facts
from opportune.replay.explain import words
from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import InvalidRequest
from shared.ruleset import Campaign

DECISIONS_TOLD = 5


def answer(facts: Facts, campaign: str | None = None) -> Answer:
    """Return what is to be told of *facts*, of all campaigns or of one; raises `InvalidRequest` for an unknown one."""
    live = {each.id: each for each in facts.ruleset.campaigns}
    if campaign is not None and campaign not in live:
        known = ", ".join(live) or "none"
        raise InvalidRequest(
            f"no campaign {campaign!r} is live at {facts.site}; known: {known}", code="unknown_campaign"
        )
    return Answer(
        site=facts.site,
        user=facts.user,
        now=facts.now,
        ruleset=facts.looked.ruleset,
        generation=facts.looked.generation,
        is_customer=facts.customer is not None,
        notes=_notes(facts),
        campaigns=[_told(facts, each) for each in ([live[campaign]] if campaign else live.values())],
    )


def _notes(facts: Facts) -> list[str]:
    looked, notes = facts.looked, []
    if facts.customer is None and not facts.user.startswith(ANONYMOUS_PREFIX):
        notes.append("nobody has imported this user as a customer")
    if looked.row is None:
        notes.append("the state store knows nothing of this user: nothing that concerns a campaign has happened lately")
    elif looked.known is not None and looked.known != (looked.ruleset, looked.generation):
        ruleset, generation = looked.known
        notes.append(
            f"the stored progress is of ruleset {ruleset} and targets {generation}; "
            "the next event brings it up to date, and what has changed meanwhile starts over"
        )
    if facts.live != looked.ruleset:
        notes.append(f"ruleset {facts.live} is published; the Decider still works with {looked.ruleset}, for seconds")
    return notes


def _told(facts: Facts, campaign: Campaign) -> Told:
    counted = dict(facts.looked.row.counted) if facts.looked.row else {}
    held = stages.stages(facts, campaign)
    waiting = stages.waiting(facts, campaign)
    limits = stages.limits(campaign, facts.ruleset.caps, counted, facts.now)
    closed = gates.closed(gates.View(facts, campaign, held, limits))
    trigger = stages.trigger_of(facts, campaign)
    code, is_in_way, verdict = _verdict(facts, campaign, held, waiting, closed)
    decisions: list[Delivery] = [each for each in facts.decisions if each.campaign == campaign.id]
    return Told(
        campaign=campaign.id,
        name=campaign.name,
        channel=campaign.channel,
        trigger=words.sentence(trigger) if trigger else "",
        target=gates.is_target(facts, campaign),
        groups=[Group(each, facts.groups.get(each)) for each in campaign.groups],
        stages=held,
        waiting=waiting,
        limits=limits,
        decisions=decisions[:DECISIONS_TOLD],
        gates=[gate.code for gate in closed],
        code=code,
        is_in_way=is_in_way,
        verdict=verdict[0].upper() + verdict[1:] + ".",
    )


def _verdict(
    facts: Facts, campaign: Campaign, held: Sequence[Stage], waiting: Sequence[Waiting], closed: Sequence[gates.Gate]
) -> tuple[str, bool, str]:
    """Return a code, whether something stands in the way, and the sentence that says so."""
    if waiting:
        due = waiting[0].due
        text = f"the trigger has matched, and the message is to be sent {stages.when(due, facts.now)}"
        if due <= facts.now:
            text = (
                f"the trigger has matched; the message was due at {words.stamp(due, near=facts.now)} and is on its way"
            )
        stop = next((gate for gate in closed if gate.delivery), None)
        if stop is not None:
            return stop.code, True, f"{text}; but {stop.sentence}"
        return "waiting", False, text
    if closed:
        return closed[0].code, True, closed[0].sentence
    pending = next((stage for stage in held if stage.due), None)
    if pending is not None:
        return "absence", False, pending.text
    trigger = stages.trigger_of(facts, campaign)
    row = facts.looked.row
    begun = next((stage for stage in held if not stage.done), None)
    if begun is None:
        return "nothing", False, "nothing stands in the way; what starts the campaign has not begun"
    runs = [run for run in (row.runs if row else []) if run.trigger == campaign.trigger.key]
    reached = next((run.reached for run in runs if (run.per or None) == begun.per), [])
    left = begun.of - begun.reached
    needs = f"nothing stands in the way; it still needs {words.count(left, 'event')}"
    if trigger is not None:
        following = "" if trigger.all_of or left == 1 else ", the next one"
        needs += f"{following}: {stages.missing(trigger, reached, facts.now)}"
    if begun.until is not None:
        needs += f", before {words.stamp(-(-begun.until // 1000) * 1000, near=facts.now)}"
    return "progress", False, needs
