"""The gates of a campaign: the policy that the state store applies, and the gates that the Decider checks itself."""

import hashlib
from typing import NamedTuple

import msgspec

from shared.contracts import Event
from shared.hours import is_open
from shared.ruleset import CANCEL, Campaign, Quota

FRESH_MS = 10_000
PARTS = 10_000
MAX_HOLD_MS = 86_400_000  # quiet hours; whatever is held longer is too late, or paused


class Rule(NamedTuple):
    """At most ``max`` activations within any ``per`` ms; otherwise ``gate`` stops the match."""

    max: int
    per: int
    gate: str


class Limit(NamedTuple):
    """The rules of one counter. ``keep``: how many times are remembered, the largest ``max``.

    ``name``: begins with ``=`` for the campaign's own limits; all others are caps that campaigns share.
    """

    name: str
    keep: int
    rules: list[Rule]


class Policy(msgspec.Struct, omit_defaults=True):
    """``policy`` of a trigger in ``apply-event-5.lua``; times in ms.

    ``delay``: of the activation after the match.
    ``goal``: for how long after it is due an activation can convert.
    ``cancel_on_goal``: the goal also calls back what is still held.
    ``recall``: for how long after it is due an activation can be called back.
    ``limits``: the campaign's own limits, and the caps that it shares.
    ``until_seen``: for how long a popup is offered again.
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
        """Return for how long (ms) an activation may matter after its match."""
        longest = max((rule.per for limit in self.limits for rule in limit.rules), default=0)
        return max(longest, (self.delay or 0) + max(self.goal or 0, self.recall or 0))


def policy(campaign: Campaign, caps: dict[str, Quota]) -> Policy:
    """Return the policy of *campaign*; *caps*: the site's."""
    limits: list[Limit] = []
    own = campaign.limits
    rules: list[Rule] = []
    if own is not None and own.again_after:
        rules.append(Rule(1, own.again_after, "rearm"))
    if own is not None and own.max is not None:
        rules.append(Rule(own.max.max, own.max.per, "rearm"))
    if rules:
        limits.append(Limit(f"={campaign.id}", max(rule.max for rule in rules), rules))
    limits += [
        Limit(f"cap:{name}", caps[name].max, [Rule(caps[name].max, caps[name].per, "cap")])
        for name in (campaign.channel, "total")
        if name in caps
    ]
    return Policy(
        priority=campaign.priority,
        delay=campaign.delay or None,
        goal=campaign.goal.within if campaign.goal else None,
        cancel_on_goal=campaign.cancel_on_goal,
        recall=campaign.max_lateness + MAX_HOLD_MS if campaign.delay and _can_be_cancelled(campaign) else None,
        limits=limits,
        until_seen=campaign.until_seen or None,
    )


def _can_be_cancelled(campaign: Campaign) -> bool:
    return any(matcher.bits & CANCEL for matcher in campaign.watchers)


def blocking_gate(campaign: Campaign, site: str, user: str, now: int, event: Event | None) -> str | None:
    """Return the gate that stops a match of *campaign* at *now* (ms), before its limits are checked, or ``None``.

    ``holdout`` is the last of all gates: if a limit stops the match as well, the limit counts.

    *event*: the event that may complete the match; ``None`` for an absence that falls due.
    The Engager checks a schedule in the customer's own time zone, because only the Engager knows the customer.
    """
    is_late = event is not None and event.received - event.at > FRESH_MS
    if campaign.channel == "popup" and (is_late or "absent" in campaign.trigger.program):
        return "stale"  # it was meant for a moment that has passed
    if campaign.channel == "popup" and event is not None and event.popup_block_reason:
        return event.popup_block_reason
    if (
        campaign.schedule is not None
        and campaign.schedule.zone != "user"
        and not is_open(campaign.schedule, now, campaign.schedule.zone)
    ):
        return "schedule"
    return "holdout" if is_held_out(site, campaign.id, campaign.holdout, user) else None


def is_held_out(site: str, campaign: str, holdout: int, user: str) -> bool:
    """Return whether *user* is one of the *holdout* in 10,000 users of *campaign*; this never changes."""
    if not holdout:
        return False
    digest = hashlib.blake2b(f"holdout\0{site}\0{campaign}\0{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PARTS < holdout
