"""Seeing to what is due: absences whose deadline has passed, matches that nobody has acknowledged.

The agenda only says where to look; the user's row decides. So a wake that comes late, twice, or beside
another one is harmless:

    wake A   reads "anna's cart is due"  ─ tick: fires, row and agenda move ─ hands over ─ acknowledges
    wake B   reads "anna's cart is due"  ─ tick: nothing pending, nothing to do
    event    "order" before the deadline ─ cancels ─ a later tick finds nothing pending
"""

from decider.book import Rulebook
from decider.decide import ATTEMPTS, GRACE_MS, PATIENCE_MS, Decider
from decider.rows import Appointment, Fire, RowCall, TriggerCall
from shared.contracts import Wake, Woken
from shared.ruleset import Campaign

PARTITIONS_AT_ONCE = 128
MOST_PER_PARTITION = 100
TIME_MS = 5_000


def wake(decider: Decider, request: Wake, now: int) -> Woken:
    """See to all that is due by *now* (ms) in the partitions of *request*."""
    absences = handovers = 0
    for first in range(request.first, request.last + 1, PARTITIONS_AT_ONCE):
        partitions = range(first, min(first + PARTITIONS_AT_ONCE, request.last + 1))
        fired: list[Fire] = []
        waiting: list[Fire] = []
        for appointment in decider.rows.due(partitions, now, MOST_PER_PARTITION):
            if appointment.kind == "absence":
                fired += _fall_due(decider, appointment, now)
            else:
                fire = decider.rows.unacknowledged(appointment)
                waiting += [fire] if fire else []
        if fired or waiting:
            decider.hand_over([*fired, *waiting], now + TIME_MS, answerable=False)
        absences += len(fired)
        handovers += len(waiting)
    return Woken(absences, handovers)


def _fall_due(decider: Decider, appointment: Appointment, now: int) -> list[Fire]:
    site, user, trigger, per = appointment.names
    for _ in range(ATTEMPTS):
        rules = decider.book.get().get(site)
        campaign = _live(rules, trigger)
        if rules is None or campaign is None:  # the trigger was changed or ended, its progress is void
            decider.rows.strike(appointment)
            return []
        answer = decider.call_row(_tick(site, user, per, campaign, rules, now), rules)
        if answer is not None:
            return answer.fires
    return []


def _live(rules: Rulebook | None, trigger: str) -> Campaign | None:
    return rules.plan.by_trigger.get(trigger) if rules else None


def _tick(site: str, user: str, per: str, campaign: Campaign, rules: Rulebook, now: int) -> RowCall:
    version = rules.plan.ruleset.version
    return RowCall(
        site=site,
        user=user,
        tick=True,
        at=now - GRACE_MS,
        received=now,
        generation=rules.generation,
        ruleset=version,
        ttl=rules.plan.ttl_ms,
        patience=PATIENCE_MS,
        grace=GRACE_MS,
        triggers=[
            TriggerCall(
                key=campaign.trigger.key,
                everyone=campaign.everyone,
                bits=0,
                per=per,
                program=campaign.trigger.program,
                ref=[campaign.id, campaign.version, version, campaign.channel, campaign.trigger.key],
                note="",
            )
        ],
    )
