"""Explain one user's events in one campaign, one after the other."""

from typing import NamedTuple

import msgspec

from decider.event_index import EventIndex, Hit
from definitions.compiler.ruleset import compile_campaign
from definitions.model.campaign import Campaign
from opportune.events.streams import Recorded
from opportune.replay.explain import words
from opportune.replay.explain.model import Entry, Explained, ExplainedMatch, Progress
from opportune.replay.explain.reasons import History
from opportune.replay.explain.trace import ALL, CompletedMatch, EventTrace, Machine, NearMiss, Timing, Trace
from shared import ruleset

# How close to a match an event came. The verdict names the closest event, and the latest of equals.
_NO_CONDITION, _NO_RUN, _PARTLY, _NEARLY = range(4)
_LOST = {
    "not_before": "the guard not_before allows none of these",
    "directly": "the next step must follow directly",
    "consecutive": "it breaks the row",
    "reset_on": "reset_on",
    ALL: "the rules allow none of these in between",
}


class Moment(NamedTuple):
    """The time that an event counts for, and when it arrived, ms."""

    now: int
    received: int


class Explainer:
    """Explains events in one campaign: call `add` for each, then `finish`."""

    def __init__(self, campaign: Campaign, machine: Machine) -> None:
        self._campaign = campaign
        self._trigger = campaign.trigger
        compiled = compile_campaign(campaign)
        self._program = compiled.trigger.program
        self._trace = Trace(machine, self._program)
        self._index = _index_of(compiled)
        without_per = msgspec.structs.replace(compiled.trigger, per=[])
        self._any_run = _index_of(msgspec.structs.replace(compiled, trigger=without_per))
        self._ended: dict[str, int] = {}
        self._histories: dict[str, History] = {}
        self._entries: list[Entry] = []
        self._closest: tuple[int, int, str] = (0, 0, "")

    def is_relevant(self, event: Recorded) -> bool:
        """Return whether the trigger uses the event."""
        return bool(self._hits(self._index, event))

    def is_unsorted(self, event: Recorded, time: int) -> bool:
        """Return whether the trigger uses the event, and it is late although nothing says when it arrived."""
        return time - event.at > self._trigger.max_backdate and self.is_relevant(event)

    def expire(self, until: int) -> int:
        """Let absences fall due by *until* (ms); return the latest deadline, or 0."""
        fired = self._trace.expire(until)
        for each in fired:
            self._deadline(each)
        return max((each.at for each in fired), default=0)

    def add(self, event: Recorded, late_ms: int, moment: Moment, *, repeated: bool) -> None:
        """Explain the next event."""
        entry = Entry(
            at=event.at,
            status="applied",
            event=event.event,
            shown=words.event(event, self._trigger),
            message_id=event.message_id,
            place=event.where,
            late_ms=late_ms,
        )
        self._entries.append(entry)
        if late_ms:
            entry.effects.append(self._late(late_ms))
        for hit in self._hits(self._any_run, event):
            entry.roles = self._roles(hit.bits)
        hits = self._hits(self._index, event)
        if not entry.roles:
            entry.status = "irrelevant"
            entry.why_not = self._unmet(event)
            self._note(_NO_CONDITION, 0, entry.why_not)
        elif not hits:
            entry.status = "no_run"
            entry.why_not = self._no_run(event)
            self._note(_NO_RUN, 0, entry.why_not)
        elif repeated:
            entry.status = "duplicate"
            entry.effects.append(
                f"duplicate: an earlier event has the message id {event.message_id}, so this one does not count"
            )
        else:
            (hit,) = hits
            self._apply(entry, event, hit.bits, hit.per, moment)

    def _hits(self, index: EventIndex, event: Recorded) -> list[Hit]:
        """Return the event's roles in the trigger. A replay ignores its effect on earlier activations."""
        return [each for each in index.lookup(event.event, event.attributes) if each.bits]

    def finish(self, until: int) -> Explained:
        """Run the clock on to *until* (ms) and return the explanation."""
        self.expire(until)
        matches = sum(entry.fired is not None for entry in self._entries)
        return Explained(
            campaign=self._campaign.id,
            name=self._campaign.name,
            trigger=words.sentence(self._trigger),
            matches=matches,
            verdict=self._verdict(matches, until),
            events=self._entries,
        )

    def _apply(self, entry: Entry, event: Recorded, bits: int, per: str, moment: Moment) -> None:
        entry.per = per or None
        history = self._histories.setdefault(per, History(self._trigger, self._program))
        history.add(event if event.at == moment.now else msgspec.structs.replace(event, at=moment.now), bits)
        late = moment.received - event.at > self._program["backdate"]
        timing = Timing(moment.now, event.at, late, self._ended.get(per))
        traced = self._trace.apply(bits, per, timing, event.message_id)
        if self._trace.calls_off(bits):
            self._ended[per] = max(event.at, self._ended.get(per, event.at))
        near = self._nearest(traced)
        entry.effects += self._effects(traced, bits, event.at, near)
        if traced.reached:
            entry.progress = Progress(traced.reached, self._trace.units, self._progress(traced.reached))
            self._note(
                _PARTLY,
                2 * traced.reached,
                f"{entry.progress.text} at {words.stamp(event.at)}; the rest never came",
            )
        if near is not None:
            reason = history.reason(near.constraint, near.message_ids)
            complete = near.reached == self._trace.units
            entry.why_not = f"no match: {reason}" if complete else f"not {self._progress(near.reached)}: {reason}"
            said = reason if complete else entry.why_not
            closeness = (_NEARLY, -history.lasted(near.message_ids)) if complete else (_PARTLY, 2 * near.reached - 1)
            self._note(*closeness, f"{said} ({words.stamp(event.at)})")
        if traced.cancelled:
            what = f"{entry.shown} at {words.stamp(event.at)} cancelled the wait"
            self._note(_NEARLY, 0, what)
        if traced.expired is not None:
            self._deadline(traced.expired)
        if traced.fired is not None:
            entry.fired = _match(traced.fired)

    def _effects(self, traced: EventTrace, bits: int, at: int, near: NearMiss | None) -> list[str]:
        before, after = traced.before, traced.after
        effects = []
        if traced.broken_by and not before.due and (near is None or near.constraint != traced.broken_by):
            effects.append(self._lost(traced, at))
        if traced.cancelled and before.due:
            cause = "unless" if bits & self._program["absent"]["bit"] else "reset_on"
            effects.append(f"cancels the wait that would have ended at {words.stamp(before.due, near=at)} ({cause})")
        if after.due and traced.reached == self._trace.units:
            silence = words.label(self._trigger.unless) if self._trigger.unless else ""
            effects.append(f"complete: fires at {words.stamp(after.due, near=at)} if no {silence} comes before")
        elif after.due and self._is_step(bits):
            effects.append(f"the wait until {words.stamp(after.due, near=at)} is already running")
        elif before.done:
            effects.append("has already matched, and after_match is once")
        elif self._is_step(bits) and not traced.reached and near is None:
            effects.append("no earlier step that it could follow")
        if traced.dropped is not None:
            effects.append(f"the run {words.run(traced.dropped)} was dropped: only 20 are kept at a time")
        return effects

    def _lost(self, traced: EventTrace, at: int) -> str:
        lost = max(unit for unit in traced.before.starts if unit not in traced.after.starts)
        what = self._progress(lost) if self._trigger.sequence else "what came before"
        within = self._trigger.within
        if within is not None and at - traced.before.starts[lost] >= within:
            return f"{what} lost: within {words.duration(within)} is over"
        return f"{what} lost: {_LOST.get(traced.broken_by or ALL, _LOST[ALL])}"

    def _nearest(self, traced: EventTrace) -> NearMiss | None:
        """Return the near miss that explains most; ``None`` if no constraint stopped the event."""
        if traced.fired or traced.after.due or traced.after.done:
            return None
        further = [near for near in traced.near if near.reached > traced.reached]
        # One constraint explains more than all of them together.
        single = [near for near in further if near.constraint != ALL]
        return max(single or further, key=lambda near: near.reached, default=None)

    def _deadline(self, fired: CompletedMatch) -> None:
        silence = self._trigger.unless
        run = f" ({', '.join(self._trigger.per)}: {words.run(fired.per)})" if fired.per else ""
        entry = Entry(
            at=fired.at,
            status="deadline",
            shown=f"no {words.label(silence)} for {words.duration(silence.for_)}{run}" if silence else "",
            per=fired.per or None,
            fired=_match(fired),
        )
        # It belongs before the first event at or after the deadline.
        place = next((n for n, other in enumerate(self._entries) if other.at >= fired.at), len(self._entries))
        self._entries.insert(place, entry)

    def _progress(self, reached: int) -> str:
        return words.progress(self._trigger, reached)

    def _is_step(self, bits: int) -> bool:
        weights = self._program.get("members") or [step["bit"] for step in self._program["steps"]]
        return any(bits & weight for weight in weights)

    def _late(self, late_ms: int) -> str:
        text = f"late: it arrived at least {words.duration(late_ms)} after it happened"
        if late_ms > self._trigger.max_backdate:
            limit = words.duration(self._trigger.max_backdate)
            text += f"; live, an event later than max_backdate ({limit}) can stop the trigger but not advance it"
        return text

    def _roles(self, bits: int) -> list[str]:
        steps = self._program.get("steps", [])
        roles = [
            f"step {number}" if len(steps) > 1 else "step"
            for number, step in enumerate(steps, start=1)
            if bits & step["bit"]
        ]
        for member, weight in zip(self._trigger.all_of or (), self._program.get("members", ()), strict=True):
            if bits & weight:
                roles.append(f"{words.label(member)} of all_of")
        if bits & self._program.get("subject", 0) and not roles:
            roles.append("subject")
        roles += [f"not_before of step {n}" for n, step in enumerate(steps, start=1) if bits & step.get("guard", 0)]
        if bits & self._program.get("reset", 0):
            roles.append("reset_on")
        if bits & self._program.get("absent", {}).get("bit", 0):
            roles.append("unless")
        return roles

    def _no_run(self, event: Recorded) -> str:
        missing = [name for name in self._trigger.per if words.attribute(name, event.attributes) is None]
        if missing:
            return f"{' and '.join(missing)} missing: it belongs to no run"
        return f"{' or '.join(self._trigger.per)} is neither text nor a number: it belongs to no run"

    def _unmet(self, event: Recorded) -> str | None:
        texts = [
            words.unmet(matcher, event.attributes)
            for _, matcher in self._trigger.matchers()
            if event.event in matcher.event
        ]
        return ", or ".join(dict.fromkeys(texts)) or None

    def _note(self, kind: int, degree: int, text: str | None) -> None:
        if text and (kind, degree) >= self._closest[:2]:
            self._closest = (kind, degree, text)

    def _verdict(self, matches: int, until: int) -> str:
        waits = [run.due for run in self._trace.runs().values() if run.due and run.due > until]
        pending = f"waiting until {words.stamp(min(waits))}; use --until to run the clock to that time" if waits else ""
        if matches:
            times = {1: "once", 2: "twice"}.get(matches, f"{matches} times")
            return f"matched {times}" + (f"; {pending}" if pending else "")
        if pending:
            return f"no match yet: {pending}"
        if self._closest[2]:
            return f"no match; closest: {self._closest[2]}"
        return "no match: this campaign uses none of these events"


def _index_of(campaign: ruleset.Campaign) -> EventIndex:
    return EventIndex(ruleset.Ruleset(site="replay", version=1, keys=[], campaigns=[campaign]))


def _match(fired: CompletedMatch) -> ExplainedMatch:
    return ExplainedMatch(fired.at, fired.since, fired.per or None, fired.reason, fired.message_ids)
