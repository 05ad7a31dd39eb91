"""Handle the timers that are due: absences, delayed and unacknowledged activations, unfinished moves of visitors.

A timer only says where to look; the user's row decides. So a wake that is late, doubled, or runs beside another one
does no harm:

    wake A   reads "anna's cart is due"  ─ tick: fires, row and timers change ─ hands over ─ acknowledges
    wake B   reads "anna's cart is due"  ─ tick: nothing pending, nothing to do
    event    "order" before the deadline ─ cancels ─ a later tick finds nothing pending

A timer whose data cannot be read is rescheduled, logged and counted. It does not block the others.

Timers are handled in pages. Each page is handed over before the next one begins, and a wake ends while the page under
way still has time, so every wake makes progress however many timers are due. Further invocations continue with the
rest until the next minute's wake:

    wake of the minute ── no time for all ──▶ eight in parallel, an eighth of the partitions each ──▶ one after each …

The wake reports once how late each timer was handled. That counts for an absence that falls due and for a delay that
ends. It does not count for an absence that an event resolves, for a timer that was cancelled in time, or for a second
handover of the same activation. What the Engager holds afterwards is not seen here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from decider.activations import received, reference
from decider.apply_event import MAX_ATTEMPTS, apply_to_row, row_call
from decider.hand_over import hand_over, schedule_delayed
from decider.policy import Policy, blocking_gate
from decider.ports import Deps
from decider.rulesets import SiteRules
from decider.store import Unreadable
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS, LOST_AFTER_MS, Timer
from decider.user_state import ApplyEvent, Firing, TriggerCall
from decider.visitors import finish_move_of
from shared.contracts import Doorbell, Wake, Woken
from shared.errors import Unavailable

ObserveLateness = Callable[[int], None]

PARTITIONS_AT_ONCE = 128
MAX_PER_PARTITION = 100
PAGE = 50
MAX_PAGES_MS = 3_000  # no page begins after that
PARALLEL = 8
MAX_HOPS = 12  # as many as fit into a minute; Lambda stops a chain of invocations after about 16
DEADLINE_MS = 5_000  # Lambda kills the function soon after


@dataclass(frozen=True)
class _Run:
    """One wake or doorbell: what it works with, when it began (ms), and what it has done so far."""

    deps: Deps
    now: int
    woken: Woken
    observe_lateness: ObserveLateness

    def observe(self, firing: Firing, due: int) -> None:
        """Report how late (ms) the timer of *firing*, due at *due*, is handled.

        The grace of an absence and the receipt of its event must be over first: an event that is reported hours later
        may begin a wait that has already ended. Never negative, whatever clock stamped the event, because CloudWatch
        has no percentiles for a metric with negative values.
        """
        earliest = firing.at + GRACE_MS if firing.reason == "absence" else 0
        self.observe_lateness(max(0, self.deps.clock() - max(due, earliest, received(firing))))

    def count_claimed(self, firing: Firing, *, is_repeated: bool) -> None:
        """Count *firing*, which was claimed: its delay has ended, or it is handed over again."""
        if is_repeated:
            self.woken.handovers += 1
        else:
            self.woken.delayed += 1
            self.observe(firing, firing.due)


def wake(request: Wake, deps: Deps, observe_lateness: ObserveLateness) -> Woken:
    """Handle the timers that are due in the partitions of *request*; return what was done.

    *observe_lateness*: is called once per timer, with ms.
    What could not be handed over waits for a later wake. The rest is handled before `Unavailable` is raised.
    """
    run = _Run(deps, deps.clock(), Woken(0, 0), observe_lateness)
    failure: Unavailable | None = None
    for partitions in _rotated(request, run.now):
        try:
            due = deps.states.due_timers(partitions, run.now, MAX_PER_PARTITION)
        except Unavailable as error:
            failure, due = error, []
        fullest = max(Counter(timer.partition for timer in due).values(), default=0)
        run.woken.has_more = run.woken.has_more or fullest >= MAX_PER_PARTITION
        for first in range(0, len(due), PAGE):
            if _is_out_of_time(run):
                break
            try:
                _handle_page(due[first : first + PAGE], run)
            except Unavailable as error:
                failure = error
        if _is_out_of_time(run):
            run.woken.has_more = True
            break
    if failure is not None:
        raise failure
    return run.woken


def next_wakes(request: Wake) -> list[Wake]:
    """Return the wakes that continue after *request*, if it has left timers."""
    if request.hop >= MAX_HOPS:
        return []
    share = -(-(request.last - request.first + 1) // (1 if request.hop else PARALLEL))
    firsts = range(request.first, request.last + 1, share)
    return [Wake(first, min(first + share - 1, request.last), request.hop + 1) for first in firsts]


def answer_doorbell(doorbell: Doorbell, deps: Deps, observe_lateness: ObserveLateness) -> Woken:
    """Hand over the delayed activation that *doorbell* names; *observe_lateness*: see `wake`.

    If the state store has nothing of it, the activation was handled before, or it is lost. Only the ledger knows which.
    So the Engager gets what the doorbell carries: usually a record of the loss. It changes nothing if there is a row.
    If the state epoch is the same, the doorbell rings once more before that. One that rings too early rings again too.
    """
    run = _Run(deps, deps.clock(), Woken(0, 0), observe_lateness)
    claimed = deps.states.claim(doorbell.key, run.now, ACK_TIMEOUT_MS)
    if claimed.firing:
        run.count_claimed(claimed.firing, is_repeated=claimed.is_repeated)
        _hand_over_each([claimed.firing], run)
        return run.woken
    is_lost = claimed.state_epoch != doorbell.state_epoch
    if run.now < doorbell.lost.due:
        return _ring_again(doorbell, doorbell.lost.due, run)
    if run.now < doorbell.lost.due + LOST_AFTER_MS and not is_lost:
        return _ring_again(doorbell, doorbell.lost.due + LOST_AFTER_MS, run)
    if doorbell.lost.suppressed:
        deps.deliveries.engage([doorbell.lost], [], run.now + DEADLINE_MS)
    else:
        deps.deliveries.enqueue([doorbell.lost])
    if is_lost:
        observe_lateness(run.now - doorbell.lost.due)
        run.woken.delayed += 1
    return run.woken


def _ring_again(doorbell: Doorbell, at: int, run: _Run) -> Woken:
    again = msgspec.structs.replace(doorbell, rings=doorbell.rings + 1)
    run.deps.doorbells.schedule_doorbell(again, at, run.now)
    return run.woken


def _is_out_of_time(run: _Run) -> bool:
    return run.deps.clock() - run.now >= MAX_PAGES_MS


def _rotated(request: Wake, now: int) -> Iterator[list[int]]:
    """Yield the partitions, beginning anywhere, so that none is always the one without time."""
    asked = range(request.first, request.last + 1)
    begin = now % len(asked) if asked else 0
    ordered = [*asked[begin:], *asked[:begin]]
    for first in range(0, len(ordered), PARTITIONS_AT_ONCE):
        yield ordered[first : first + PARTITIONS_AT_ONCE]


def _handle_page(due: list[Timer], run: _Run) -> None:
    firings: list[Firing] = []
    try:
        for timer in due:
            try:
                firings += _handle(timer, run)
            except Unreadable as error:
                _reschedule(timer, error, run)
    finally:
        if firings:
            _hand_over_each(firings, run)


def _handle(timer: Timer, run: _Run) -> Sequence[Firing]:
    """Handle *timer*; return the firings to hand over now."""
    if timer.kind == "absence":
        fired = _fall_due(timer, run)
        run.woken.absences += len(fired)
        for firing in fired:
            run.observe(firing, firing.at)
        try:
            schedule_delayed(timer.names[0], fired, run.now, run.deps)
        except Unavailable as error:  # a wake finds it within a minute after it is due
            run.deps.log_warning("no doorbell: a wake will deliver what is delayed", extra={"code": error.code})
        return [firing for firing in fired if not firing.is_delayed]
    if timer.kind == "handover":
        claimed = run.deps.states.claim(timer.names[0], run.now, ACK_TIMEOUT_MS)
        if claimed.firing:
            run.count_claimed(claimed.firing, is_repeated=claimed.is_repeated)
            return [claimed.firing]
    elif timer.kind == "move":
        try:
            finish_move_of(timer, run.now, run.deps)
        except Unavailable as error:  # perhaps of the user's partition: this one can go on
            _reschedule(timer, error, run)
    else:
        run.deps.log_warning("an unreadable timer was removed", extra={"partition": timer.partition})
        run.deps.states.remove(timer)
    return []


def _reschedule(timer: Timer, error: Unavailable, run: _Run) -> None:
    """Try *timer* again later. Raises `Unavailable` if the state store fails at that too: then nothing works now."""
    run.deps.states.reschedule(timer, run.now + ACK_TIMEOUT_MS)
    extra = {"code": error.code, "reason": error.message, "partition": timer.partition}
    run.deps.log_warning("a timer was rescheduled: its data cannot be read now", extra=extra)
    run.woken.rescheduled += 1


def _hand_over_each(firings: list[Firing], run: _Run) -> None:
    """Hand *firings* over together, or one by one if that fails, so that one cannot block the others.

    After two failures in a row, not a firing but the route is to blame: the rest waits for a later wake.
    """
    deadline = run.now + DEADLINE_MS
    try:
        hand_over(firings, deadline, run.deps)
    except Unavailable as error:
        if len(firings) == 1 and not isinstance(error, Unreadable):
            raise
        failed = False
        for firing in firings:
            try:
                hand_over([firing], deadline, run.deps)
            except Unreadable as unreadable:  # claiming it has already rescheduled it
                run.deps.log_warning("a match was rescheduled: it cannot be read", extra={"code": unreadable.code})
                run.woken.rescheduled += 1
            except Unavailable:
                if failed:
                    raise
                failed = True
            else:
                failed = False


def _fall_due(timer: Timer, run: _Run) -> list[Firing]:
    """Apply a tick to the row that *timer* names; return what fires."""
    site = timer.names[0]
    for _ in range(MAX_ATTEMPTS):
        # A row reports a newer ruleset than ours. A site that we do not know yet cannot.
        rules = run.deps.rulesets.get().get(site) or run.deps.rulesets.reload().get(site)
        if rules is None:
            run.deps.states.remove(timer)
            return []
        result = apply_to_row(_tick(timer, rules, run.now), rules, run.deps)
        if result is not None:
            return result.firings
    return []  # it stays due


def _tick(timer: Timer, rules: SiteRules, now: int) -> ApplyEvent:
    site, user, key, per = timer.names
    campaign = rules.index.by_trigger.get(key)
    return row_call(
        rules,
        site=site,
        user=user,
        tick=True,
        at=now - GRACE_MS,
        received=now,
        triggers=[
            TriggerCall(
                key=key,
                everyone=campaign is not None and campaign.everyone,
                bits=0,
                per=per,
                program=campaign.trigger.program if campaign else None,
                ref=reference(campaign, rules.index.ruleset.version) if campaign else [],
                note="",
                policy=rules.index.policies[campaign.id] if campaign else Policy(),
                gate=blocking_gate(campaign, site, user, now, None) if campaign else None,
            )
        ],
    )
