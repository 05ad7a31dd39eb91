"""The use case of the Decider: events in, decisions out.

For each event: which triggers does it concern (no call), what does it do to the user's row (one Redis
command), and who is told (one call to the Engager for all popups and records of the request, one to the
queue for all else, a doorbell for each that is delayed). A failure half-way raises after what was decided has been
handed over; the caller repeats the request, and events that were applied return their stored result.

What is delayed is the agenda's to hand over, never this call's, nor a repetition's: between the two it may have been
cancelled, and only the state store knows.
"""

from collections.abc import Callable, Container, Sequence
from typing import Any

import msgspec

from decider.activations import Note, activation, conversion, offer_id, reference, write_note
from decider.dispatch import LONGEST_HOP_S, Dispatch
from decider.event_index import Hit
from decider.policy import FRESH_MS, blocking_gate
from decider.rulesets import Rulesets, SiteRules
from decider.store import Unreadable
from decider.targets import Targets
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS
from decider.user_state import WAITING, ApplyEvent, ApplyResult, Firing, Outcome, TriggerCall, UserStateStore
from decider.visitors import Visitors
from shared import groups
from shared.contracts import Decide, Decided, Decision, Doorbell, Event
from shared.errors import Unavailable
from shared.identities import Identification
from shared.refreshing_cache import RefreshingCache

ATTEMPTS = 4

REFUSALS = {
    Outcome.RATE_LIMITED: ("rate_limited", "this user sends more events than the site takes"),
    Outcome.HISTORY_TOO_LATE: (
        "history_before_last_event",
        "a history event must not be older than the last event of its user",
    ),
}


class Decider:
    """Decides events of any site. *tell* logs what people should know: a sentence, and ``extra`` fields."""

    def __init__(
        self,
        book: RefreshingCache[Rulesets],
        rows: UserStateStore,
        targets: Targets,
        dispatch: Dispatch,
        tell: Callable[..., None],
    ) -> None:
        self.book = book
        self.rows = rows
        self.targets = targets
        self.dispatch = dispatch
        self.tell = tell
        self.visitors = Visitors(book, rows, tell)

    def decide(self, request: Decide) -> Decided:  # noqa: C901, PLR0912 - replaced in the next step
        """Go through the items in order; return one decision per event.

        A visitor becomes a user at the item that says so. If a row cannot be read, the items of other users are still
        processed before `Unreadable` is raised. After any other failure, the remaining items are left.
        """
        decisions: list[Decision] = []
        matched: dict[str, tuple[Decision, Firing]] = {}
        fresh: set[str] = set()
        failure: Unavailable | None = None
        left: set[str] = set()
        for item in request.items:
            try:
                if isinstance(item, Event):
                    answer = self._apply(request.site, item) if item.user not in left else None
                elif isinstance(item, Identification) and item.visitor:
                    self.visitors.become(request.site, item)
            except Unreadable as error:
                failure = error
                if isinstance(item, Event):
                    left.add(item.user)
                continue
            except Unavailable as error:
                failure = error
                break
            if not isinstance(item, Event):
                continue
            decision = Decision(item.message_id)
            if answer is not None:
                _refuse(decision, answer)
                for fire in self._in_answer(request.site, answer, item.received):
                    matched.setdefault(fire.key, (decision, fire))  # a message may be in a batch twice
                    if item.received - fire.at <= FRESH_MS or fire is answer.offer:
                        fresh.add(fire.key)
            decisions.append(decision)
        if matched:
            contents = self.hand_over([fire for _, fire in matched.values()], request.deadline, answerable=fresh)
            for key, content in contents.items():
                matched[key][0].messages.append(content)
        if failure is not None:
            raise failure
        return Decided(decisions)

    def hand_over(
        self, fires: Sequence[Firing], deadline: int, *, answerable: Container[str]
    ) -> dict[str, dict[str, Any]]:
        """Tell the Engager of *fires*, then acknowledge them; return the popups by the fires' keys.

        What has no effect outside (a popup, a record of what was suppressed) goes straight to it, all else by
        the queue. *answerable*: the keys of fires that an answer on its way is still fresh enough for.
        """
        reached = [fire for fire in fires if fire.reason == "goal"]
        due = [(fire, activation(fire, answerable=fire.key in answerable)) for fire in fires if fire.reason != "goal"]
        direct = [(fire, each) for fire, each in due if each.channel == "popup" or each.suppressed]
        queued = [(fire, each) for fire, each in due if each.channel != "popup" and not each.suppressed]
        contents: dict[str, dict[str, Any]] = {}
        done: list[Firing] = []
        try:
            if queued:
                self.dispatch.queue([each for _, each in queued])
                done += [fire for fire, _ in queued]
            if direct or reached:
                contents = self.dispatch.engage(
                    [each for _, each in direct], [conversion(fire) for fire in reached], deadline
                )
                done += [fire for fire, _ in direct] + reached
        finally:
            if done:
                self.rows.acknowledge(done)
        for fire in fires:
            if fire.gate not in WAITING and fire.due - fire.at > LONGEST_HOP_S * 1000:
                self.dispatch.silence(fire.key)
        return {fire.key: contents[each.id] for fire, each in direct if each.id in contents}

    def set_aside(self, site: str, fires: Sequence[Firing], now: int) -> list[Firing]:
        """Return those of *fires* that are to be handed over; hang a doorbell for each that is delayed."""
        for fire in fires:
            if fire.is_delayed and fire.due > now:
                self._ring(site, fire, now)
        return [fire for fire in fires if not fire.is_delayed]

    def _in_answer(self, site: str, answer: ApplyResult, now: int) -> list[Firing]:
        """Return what is handed over at once, and what is offered again, where its campaign is live still."""
        fires = self.set_aside(site, answer.fires, now)
        rules, offer = self.book.get().get(site), answer.offer
        if rules is not None and offer is not None and offer.ref[3] in rules.plan.by_trigger:
            fires.append(offer)
        return fires

    def _ring(self, site: str, fire: Firing, now: int) -> None:
        # Without a bell, a wake finds it within a minute after it is due.
        rules = self.book.get().get(site)
        campaign = rules.plan.by_trigger.get(fire.ref[3]) if rules else None
        lost = activation(fire, answerable=False)
        if campaign is None or not campaign.send_if_lost:
            lost = msgspec.structs.replace(lost, suppressed="state_lost", attributes={})
        try:
            self.dispatch.ring(Doorbell(key=fire.key, born=fire.born, lost=lost), now)
        except Unavailable as error:
            self.tell("no doorbell: a wake will find what is delayed", extra={"code": error.code})

    def call_row(self, call: ApplyEvent, rules: SiteRules) -> ApplyResult | None:
        """Make *call*, and once more with the user's targets where the row asks for them.

        ``None``: the row knows a newer ruleset than *rules*, which has been loaded meanwhile.
        """
        answer = self.rows.apply(call)
        if answer.code is Outcome.TARGETS_UNKNOWN:
            plan = rules.plan
            found = self.targets.groups(call.site, rules.generation, call.user) if plan.has_groups else []
            live = plan.ruleset.campaigns
            call.targets = [each.trigger.key for each in live if not each.everyone and groups.is_target(each, found)]
            call.keep = call.targets + [each.trigger.key for each in live if each.everyone]
            call.live = {each.trigger.key: each.id for each in live}
            answer = self.rows.apply(call)
        if answer.code is Outcome.RULESET_OUTDATED:
            self.book.reload()
            return None
        return answer

    def _apply(self, site: str, event: Event) -> ApplyResult | None:
        """Apply *event* to its user's row; ``None`` where no live trigger cares."""
        for _ in range(ATTEMPTS):
            rules = self.book.get().get(site)
            concerns = rules.plan.concerns(event.event, event.attributes) if rules else []
            if rules is None or not concerns:
                return None
            answer = self.call_row(_event_call(site, event, rules, concerns), rules)
            if answer is not None and answer.code is Outcome.VISITOR_BECAME_USER:
                if answer.moving:
                    self.visitors.finish(site, event.user, event.received)
                event = msgspec.structs.replace(event, user=answer.user)
            elif answer is not None:
                for campaign in answer.evicted:
                    self.tell("a run had to go: a user has too many", extra={"campaign": campaign})
                return answer
        raise Unavailable("the ruleset changed too often meanwhile", code="ruleset_changing")


def _refuse(decision: Decision, answer: ApplyResult) -> None:
    """Write into *decision* why its event was refused, if it was."""
    if answer.code in REFUSALS:
        decision.code, decision.message = REFUSALS[answer.code]
        decision.after_s = -(-answer.wait // 1000)


def row_call(rules: SiteRules, **known: Any) -> ApplyEvent:
    """Return a call of a user's row under *rules*; *known*: the fields that they do not say."""
    return ApplyEvent(
        generation=rules.generation,
        ruleset=rules.plan.ruleset.version,
        ttl=rules.plan.ttl_ms,
        patience=ACK_TIMEOUT_MS,
        grace=GRACE_MS,
        **known,
    )


def _event_call(site: str, event: Event, rules: SiteRules, concerns: Sequence[Hit]) -> ApplyEvent:
    limit = None if event.history else rules.plan.ruleset.events_per_user
    return row_call(
        rules,
        site=site,
        user=event.user,
        message_id=event.message_id,
        at=event.at,
        received=event.received,
        history=event.history,
        limit=(limit.max, limit.per) if limit else None,
        follows=event.verified,
        fresh=not (event.history or event.mute) and event.received - event.at <= FRESH_MS,
        triggers=[
            TriggerCall(
                key=campaign.trigger.key,
                everyone=campaign.everyone,
                bits=bits,
                per=per,
                program=campaign.trigger.program,
                ref=reference(campaign, rules.plan.ruleset.version),
                note=_note(event, campaign.reads) if bits else "",
                policy=rules.plan.policies[campaign.id],
                watch=watch,
                closed=blocking_gate(campaign, site, event.user, event.received, event) if bits else None,
                offer=offer_id(site, event, campaign, per) if campaign.until_seen else None,
            )
            for campaign, bits, per, watch in concerns
        ],
    )


def _note(event: Event, reads: Sequence[str]) -> str:
    return write_note(
        Note(
            event=event.event,
            message_id=event.message_id,
            at=event.at,
            received=event.received,
            history=event.history,
            attributes={name: event.attributes[name] for name in reads if name in event.attributes},
        )
    )
