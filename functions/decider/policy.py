"""What the gates in the state store have to know of a campaign, and those that close before a match is looked for."""

import hashlib

import msgspec

from shared.contracts import Event
from shared.hours import is_open
from shared.ruleset import CANCEL, Campaign, Quota

FRESH_MS = 10_000
PARTS = 10_000
LONGEST_HOLD_MS = 86_400_000  # quiet hours; what is held for longer is too late, or paused

# name, how many times to remember, and the rules: (max, per in ms, gate)
Limit = tuple[str, int, list[tuple[int, int, str]]]


class Policy(msgspec.Struct, omit_defaults=True):
    """``policy`` of a trigger in ``apply-event-5.lua``.

    ``recall``: ms after the due time during which an activation can still be called back.
    """

    priority: int = 0
    delay: int | None = None
    goal: int | None = None
    cancel_on_goal: bool = False
    recall: int | None = None
    limits: list[Limit] = []
    until_seen: int | None = None

    @property
    def horizon(self) -> int:
        """Return for how long (ms) something of an activation may matter after its match."""
        longest = max((rule[1] for limit in self.limits for rule in limit[2]), default=0)
        return max(longest, (self.delay or 0) + max(self.goal or 0, self.recall or 0))


def policy(campaign: Campaign, caps: dict[str, Quota]) -> Policy:
    """Return the policy of *campaign*; *caps*: the site's."""
    limits: list[Limit] = []
    own = campaign.limits
    rules: list[tuple[int, int, str]] = []
    if own is not None and own.again_after:
        rules.append((1, own.again_after, "rearm"))
    if own is not None and own.max is not None:
        rules.append((own.max.max, own.max.per, "rearm"))
    if rules:
        limits.append((f"={campaign.id}", max(rule[0] for rule in rules), rules))
    limits += [
        (f"cap:{name}", caps[name].max, [(caps[name].max, caps[name].per, "cap")])
        for name in (campaign.channel, "total")
        if name in caps
    ]
    return Policy(
        priority=campaign.priority,
        delay=campaign.delay or None,
        goal=campaign.goal.within if campaign.goal else None,
        cancel_on_goal=campaign.cancel_on_goal,
        recall=campaign.max_lateness + LONGEST_HOLD_MS if campaign.delay and _can_be_cancelled(campaign) else None,
        limits=limits,
        until_seen=campaign.until_seen or None,
    )


def _can_be_cancelled(campaign: Campaign) -> bool:
    return any(matcher.bits & CANCEL for matcher in campaign.watchers)


def blocking_gate(campaign: Campaign, site: str, user: str, now: int, event: Event | None) -> str | None:
    """Return the gate that stops a match of *campaign* at *now* (ms), whatever its limits say; ``None``: none does.

    ``holdout`` is the last of all gates: what its limits say comes first.

    *event*: the one that may complete it; ``None`` for an absence that falls due. A schedule in the customer's
    own zone is the Engager's to judge: only he knows the customer.
    """
    is_late = event is not None and event.received - event.at > FRESH_MS
    if campaign.channel == "popup" and (is_late or "absent" in campaign.trigger.program):
        return "stale"  # whoever was offline then is not shown now what was meant for then
    if campaign.channel == "popup" and event is not None and event.mute:
        return event.mute
    if (
        campaign.schedule is not None
        and campaign.schedule.zone != "user"
        and not is_open(campaign.schedule, now, campaign.schedule.zone)
    ):
        return "schedule"
    return "holdout" if is_held_out(site, campaign.id, campaign.holdout, user) else None


def is_held_out(site: str, campaign: str, holdout: int, user: str) -> bool:
    """Return whether *user* is one of the *holdout* in 10,000 users of *campaign*: the same answer for ever."""
    if not holdout:
        return False
    digest = hashlib.blake2b(f"holdout\0{site}\0{campaign}\0{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PARTS < holdout
