"""Seeing to what is due: absences whose deadline has passed, activations delayed until now, or not acknowledged.

The agenda only says where to look; the user's row decides. So a wake that comes late, twice, or beside
another one is harmless:

    wake A   reads "anna's cart is due"  ─ tick: fires, row and agenda move ─ hands over ─ acknowledges
    wake B   reads "anna's cart is due"  ─ tick: nothing pending, nothing to do
    event    "order" before the deadline ─ cancels ─ a later tick finds nothing pending

So is what is on its way from a visitor to the user he has become, where somebody has left it half-way.

What cannot be read of one user is put off, logged and counted, and does not stand in the way of the others.

What is due is seen to in pages, each handed over before the next is begun, and a wake ends while there is
still time for the page under way: however long the agenda has grown, every wake gets somewhere. What is left others
go on with at once, until the next minute's wake:

    wake of the minute ── no time for all ──▶ eight at a time, an eighth of the partitions each ──▶ one after each …

How late each timer was seen to is told, once for each. A timer is what nothing but a wake or a doorbell sees to: an
absence that falls due, a delay that ends. An absence that an event of its user resolves is none, nor is what was
cancelled before its time; what could not be handed over when its time had come is a repeated hand-over from then on.
What the Engager holds afterwards does not come back here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from decider.activations import received, reference
from decider.decide import ATTEMPTS, Decider, row_call
from decider.policy import Policy, blocking_gate
from decider.rulesets import SiteRules
from decider.store import Unreadable
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS, Timer
from decider.user_state import ApplyEvent, Firing, TriggerCall
from shared.clock import Clock
from shared.contracts import Doorbell, Wake, Woken
from shared.errors import Unavailable

Ended = Callable[[Firing, int], None]  # hears of a timer: what it was for, and when it was due

PARTITIONS_AT_ONCE = 128
MOST_PER_PARTITION = 100
PAGE = 50
ENOUGH_MS = 3_000  # no page is begun after that
AT_A_TIME = 8
MOST_HOPS = 12  # what a minute has room for; Lambda ends a chain after some sixteen
DEADLINE_MS = 5_000  # Lambda kills us soon after


def wake(decider: Decider, request: Wake, clock: Clock, late: Callable[[int], None]) -> Woken:
    """See to what is due in the partitions of *request* by *clock*; return what it came to.

    *late* hears of each timer how late it was, in ms. What could not be handed over is left to a later wake, and the
    rest is seen to before `Unavailable` is raised.
    """
    now = clock()
    ended = _measured(clock, late)
    woken = Woken(0, 0)
    failure: Unavailable | None = None
    for partitions in _in_turn(request, now):
        try:
            due = decider.rows.due(partitions, now, MOST_PER_PARTITION)
        except Unavailable as error:
            failure, due = error, []
        woken.left = (
            woken.left or max(Counter(each.partition for each in due).values(), default=0) >= MOST_PER_PARTITION
        )
        for first in range(0, len(due), PAGE):
            if clock() - now >= ENOUGH_MS:
                break
            try:
                _see_to(decider, due[first : first + PAGE], now, woken, ended)
            except Unavailable as error:
                failure = error
        if clock() - now >= ENOUGH_MS:
            woken.left = True
            break
    if failure is not None:
        raise failure
    return woken


def following(request: Wake) -> list[Wake]:
    """Return the wakes that go on where that of *request* has left something."""
    if request.hop >= MOST_HOPS:
        return []
    share = -(-(request.last - request.first + 1) // (1 if request.hop else AT_A_TIME))
    firsts = range(request.first, request.last + 1, share)
    return [Wake(first, min(first + share - 1, request.last), request.hop + 1) for first in firsts]


def answer_bell(decider: Decider, ring: Doorbell, clock: Clock, late: Callable[[int], None]) -> Woken:
    """See to the one delayed activation that *ring* names; *late* hears how late it was, in ms.

    Where nothing of it is left in the state that it was written to, it has been seen to. Where that state is gone,
    the Engager hears what to do then: mostly, to record that it was lost.
    """
    now = clock()
    taken = decider.rows.take(ring.key, now, ACK_TIMEOUT_MS)
    if taken.fire:
        woken = Woken(0, 0)
        _count(taken.fire, taken.again, woken, _measured(clock, late))
        _hand_over(decider, [taken.fire], now, woken)
        return woken
    if taken.born == ring.born or ring.lost.due > now:
        return Woken(0, 0)
    if ring.lost.suppressed:
        decider.dispatch.engage([ring.lost], [], now + DEADLINE_MS)
    else:
        decider.dispatch.queue([ring.lost])
    late(now - ring.lost.due)
    return Woken(0, 0, delayed=1)


def _in_turn(request: Wake, now: int) -> Iterator[list[int]]:
    """Yield the partitions, beginning anywhere: none is always the one that there is no time for."""
    asked = range(request.first, request.last + 1)
    begin = now % len(asked) if asked else 0
    ordered = [*asked[begin:], *asked[:begin]]
    for first in range(0, len(ordered), PARTITIONS_AT_ONCE):
        yield ordered[first : first + PARTITIONS_AT_ONCE]


def _see_to(decider: Decider, due: list[Timer], now: int, woken: Woken, ended: Ended) -> None:
    fires: list[Firing] = []
    try:
        for appointment in due:
            try:
                fires += _keep(decider, appointment, now, woken, ended)
            except Unreadable as error:
                _put_off(decider, appointment, now, error)
                woken.put_off += 1
    finally:
        if fires:
            _hand_over(decider, fires, now, woken)


def _keep(decider: Decider, appointment: Timer, now: int, woken: Woken, ended: Ended) -> Sequence[Firing]:
    """Keep *appointment*; return what is to be handed over now."""
    if appointment.kind == "absence":
        fired = _fall_due(decider, appointment, now)
        woken.absences += len(fired)
        for fire in fired:
            ended(fire, fire.at)
        return decider.set_aside(appointment.names[0], fired, now)
    if appointment.kind == "handover":
        taken = decider.rows.take(appointment.names[0], now, ACK_TIMEOUT_MS)
        if taken.fire:
            _count(taken.fire, taken.again, woken, ended)
            return [taken.fire]
    elif appointment.kind == "move":
        try:
            decider.visitors.keep(appointment, now)
        except Unavailable as error:  # of the user's partition, maybe: no reason to stop in this one
            _put_off(decider, appointment, now, error)
            woken.put_off += 1
    else:
        decider.tell("an entry of the agenda is unreadable and was removed", extra={"partition": appointment.partition})
        decider.rows.strike(appointment)
    return []


def _count(fire: Firing, again: bool, woken: Woken, ended: Ended) -> None:
    """Count *fire*, which was taken: its delay has ended, or it is handed over *again*."""
    if again:
        woken.handovers += 1
    else:
        woken.delayed += 1
        ended(fire, fire.due)


def _measured(clock: Clock, late: Callable[[int], None]) -> Ended:
    return lambda fire, due: late(_lateness(fire, due, clock()))


def _lateness(fire: Firing, due: int, now: int) -> int:
    """Return how late (ms) the timer of *fire*, *due* at that time, is seen to by *now*.

    It cannot be before the grace of an absence is over, nor before its event was received: one that is reported hours
    later may begin a wait that has ended already. Never negative, whatever clock stamped the event: CloudWatch has no
    percentiles of a metric that has negative values.
    """
    known = fire.at + GRACE_MS if fire.reason == "absence" else 0
    return max(0, now - max(due, known, received(fire)))


def _put_off(decider: Decider, appointment: Timer, now: int, error: Unavailable) -> None:
    """Let *appointment*, which cannot be kept now, come again later.

    Raises `Unavailable` where the state store does not take that either: then nothing can be read now.
    """
    decider.rows.put_off(appointment, now + ACK_TIMEOUT_MS)
    extra = {"code": error.code, "reason": error.message, "partition": appointment.partition}
    decider.tell("an appointment was put off: what is stored for it cannot be read now", extra=extra)


def _hand_over(decider: Decider, fires: list[Firing], now: int, woken: Woken) -> None:
    """Hand *fires* over together; one by one where that fails, so that one cannot hold up the others.

    Two failures in a row are no bad fire but a way that is closed: the rest waits for a later wake.
    """
    try:
        decider.hand_over(fires, now + DEADLINE_MS, answerable=())
    except Unavailable as error:
        if len(fires) == 1 and not isinstance(error, Unreadable):
            raise
        failed = False
        for fire in fires:
            try:
                decider.hand_over([fire], now + DEADLINE_MS, answerable=())
            except Unreadable as unreadable:  # it was put behind the others when it was taken
                decider.tell("a match was put off: it cannot be read", extra={"code": unreadable.code})
                woken.put_off += 1
            except Unavailable:
                if failed:
                    raise
                failed = True
            else:
                failed = False


def _fall_due(decider: Decider, appointment: Timer, now: int) -> list[Firing]:
    site = appointment.names[0]
    for _ in range(ATTEMPTS):
        # The row speaks up when it has seen a newer ruleset than ours. For a whole site, nobody would.
        rules = decider.book.get().get(site) or decider.book.reload().get(site)
        if rules is None:
            decider.rows.strike(appointment)
            return []
        answer = decider.call_row(_tick(appointment, rules, now), rules)
        if answer is not None:
            return answer.fires
    return []  # stays due


def _tick(appointment: Timer, rules: SiteRules, now: int) -> ApplyEvent:
    site, user, key, per = appointment.names
    campaign = rules.plan.by_trigger.get(key)
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
                ref=reference(campaign, rules.plan.ruleset.version) if campaign else [],
                note="",
                policy=rules.plan.policies[campaign.id] if campaign else Policy(),
                closed=blocking_gate(campaign, site, user, now, None) if campaign else None,
            )
        ],
    )
