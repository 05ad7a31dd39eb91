"""What `opportune why` tells: the same for people and, as JSON, for programs. All times and durations are in ms."""

import msgspec

from opportune.operations.deliveries import Delivery


class Stage(msgspec.Struct):
    """One run of a trigger: ``reached`` of ``of`` events of a match, and until when the next one counts.

    ``due``: a pending absence falls due then; ``done``: it has matched, and comes but once. ``text``: all of it.
    """

    text: str
    reached: int
    of: int
    per: str | None = None
    since: int | None = None
    until: int | None = None
    due: int | None = None
    done: bool = False


class Used(msgspec.Struct):
    """A limit: ``used`` of ``most`` within ``per``; ``frees``: when the next place gets free.

    ``name``: a channel, ``total``, or ``campaign``; ``gate``: ``cap`` or ``rearm``.
    """

    name: str
    gate: str
    used: int
    most: int
    per: int
    frees: int | None = None

    @property
    def is_full(self) -> bool:
        """Return whether it stops the next match."""
        return self.used >= self.most


class Waiting(msgspec.Struct):
    """An activation that is delivered at ``due``, unless something cancels it."""

    due: int
    per: str | None = None


class Group(msgspec.Struct):
    """A target group of the campaign; ``member``: whether the user belongs to it by what MongoDB says now."""

    id: str
    member: bool | None


class Told(msgspec.Struct):
    """One campaign. ``gates``: those that are closed now; ``code`` and ``verdict``: what stands in the way first.

    ``is_in_way``: whether that is something that stops it, and not only something that has yet to happen.
    """

    campaign: str
    name: str
    channel: str
    trigger: str
    target: bool
    groups: list[Group]
    stages: list[Stage]
    waiting: list[Waiting]
    limits: list[Used]
    decisions: list[Delivery]
    gates: list[str]
    code: str
    is_in_way: bool
    verdict: str


class Answer(msgspec.Struct):
    """One user, as of ``now``: what the Decider works with, and each campaign. ``notes``: what else to know."""

    site: str
    user: str
    now: int
    ruleset: int
    generation: int
    is_customer: bool
    notes: list[str]
    campaigns: list[Told]
