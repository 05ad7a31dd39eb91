"""Describe a user's progress in a campaign, the messages that are pending, and the limits in use."""

from collections.abc import Iterator, Sequence

from decider.policy import policy
from decider.user_admin import Reached, RunProgress
from definitions.model.trigger import Trigger
from opportune.operations.why.model import LimitUse, PendingMessage, Stage
from opportune.operations.why.snapshot import Snapshot
from opportune.replay.explain import words
from shared.ruleset import Campaign, Quota


def trigger_of(snapshot: Snapshot, campaign: Campaign) -> Trigger | None:
    """Return the campaign's trigger as it was written, or ``None`` if that is unknown."""
    written = snapshot.files.get(campaign.id)
    return written.trigger if written else None


def stages(snapshot: Snapshot, campaign: Campaign) -> list[Stage]:
    """Return the progress that still counts, the furthest first."""
    row = snapshot.state.row
    mine = [run for run in (row.runs if row else []) if run.trigger == campaign.trigger.key]
    found = [stage for run in mine for stage in _of_run(run, trigger_of(snapshot, campaign), snapshot.now)]
    return sorted(found, key=lambda each: (each.due is None, -each.reached, -(each.until or 0)))


def waiting(snapshot: Snapshot, campaign: Campaign) -> list[PendingMessage]:
    """Return the delayed activations that are still pending, the next one first."""
    row = snapshot.state.row
    mine = [each for each in (row.open if row else []) if each.campaign == campaign.id and each.due]
    return [PendingMessage(each.due, each.per or None) for each in sorted(mine, key=lambda each: each.due)]


def limits(campaign: Campaign, caps: dict[str, Quota], counted: dict[str, list[int]], now: int) -> list[LimitUse]:
    """Return each limit of *campaign* and its use at *now*. *counted*: times by name, the newest last."""
    used = []
    for name, _, rules in policy(campaign, caps).limits:
        for most, per, gate in rules:
            inside = [at for at in counted.get(name, []) if now - at < per]
            frees = inside[-most:][0] + per if inside else None
            shown = "campaign" if name == f"={campaign.id}" else name.removeprefix("cap:")
            used.append(LimitUse(shown, gate, len(inside), most, per, frees))
    return used


def missing(trigger: Trigger, reached: Sequence[Reached], now: int) -> str:
    """Return the events that must come next."""
    if trigger.sequence:
        events = max((each.events for each in _alive(reached, now)), default=0)
        return words.label(trigger.sequence[words.places(trigger)[events][0]])
    seen = {each.events for each in _alive(reached, now)}
    return " and ".join(words.label(each) for n, each in enumerate(trigger.all_of or (), start=1) if n not in seen)


def _of_run(run: RunProgress, trigger: Trigger | None, now: int) -> Iterator[Stage]:
    per = run.per or None
    if run.done:
        yield Stage("has matched, and can match only once", run.of, run.of, per, done=True)
    if run.due:
        silence = words.label(trigger.unless) if trigger and trigger.unless else "cancelling event"
        if run.due > now:
            text = f"complete; fires {when(run.due, now)} if no {silence} comes before"
        else:
            text = f"complete; fell due at {words.stamp(run.due, near=now)}, and fires within a minute"
        yield Stage(text, run.of, run.of, per, since=run.since, due=run.due)
    alive = _alive(run.reached, now)
    if not alive:
        return
    sequence = trigger is None or bool(trigger.sequence)
    furthest = alive[-1] if sequence else min(alive, key=lambda each: each.until)
    events = furthest.events if sequence else len(alive)
    text = words.progress(trigger, events) if trigger else f"{events} of {run.of} events"
    if furthest.until:
        left = words.about(furthest.until - now)
        first = "the first event leaves the window in" if furthest.limit == "within" else "the next must come within"
        text += f"; {first} {left}"
    yield Stage(text, events, run.of, per, since=furthest.since, until=furthest.until or None)


def _alive(reached: Sequence[Reached], now: int) -> list[Reached]:
    """Return the progress that has not expired."""
    return [each for each in reached if not each.until or each.until > now]


def when(at: int, now: int) -> str:
    """Return a future time: ``at 14:30:00 (in 12m 3s)``."""
    seconds = -(-at // 1000) * 1000
    return f"at {words.stamp(seconds, near=now)} (in {words.about(max(0, at - now))})"
