"""The answer of `opportune why`. Tables and JSON are both made from it. Times and durations are in ms."""

import msgspec

from opportune.operations.deliveries import Delivery


class Stage(msgspec.Struct):
    """The progress of one run of a trigger.

    ``text``: the progress in words.
    ``reached``, ``of``: events so far, and events of a match.
    ``until``: the next event counts if it comes before this time.
    ``due``: when a pending absence falls due.
    ``done``: it has matched and cannot match again.
    """

    text: str
    reached: int
    of: int
    per: str | None = None
    since: int | None = None
    until: int | None = None
    due: int | None = None
    done: bool = False


class LimitUse(msgspec.Struct):
    """A limit, and how much of it is used.

    ``name``: a channel, ``total``, or ``campaign``.
    ``gate``: ``cap`` or ``rearm``.
    ``used``, ``most``: matches counted and allowed within ``per``.
    ``frees``: when the next match becomes possible.
    """

    name: str
    gate: str
    used: int
    most: int
    per: int
    frees: int | None = None

    @property
    def is_full(self) -> bool:
        """Return whether the limit blocks the next match."""
        return self.used >= self.most


class PendingMessage(msgspec.Struct):
    """A delayed activation, to be delivered at ``due`` unless an event cancels it."""

    due: int
    per: str | None = None


class Group(msgspec.Struct):
    """A target group of the campaign. ``member``: whether MongoDB has the user in it now."""

    id: str
    member: bool | None


class CampaignAnswer(msgspec.Struct):
    """One campaign.

    ``gates``: the codes of the gates that are closed now.
    ``code``, ``verdict``: the first of them, or what is still missing, as a code and as a sentence.
    ``is_in_way``: whether the verdict names an obstacle. Otherwise an event is still to come.
    """

    campaign: str
    name: str
    channel: str
    trigger: str
    target: bool
    groups: list[Group]
    stages: list[Stage]
    waiting: list[PendingMessage]
    limits: list[LimitUse]
    decisions: list[Delivery]
    gates: list[str]
    code: str
    is_in_way: bool
    verdict: str


class Answer(msgspec.Struct):
    """One user at ``now``: the versions that the Decider uses, each campaign, and ``notes`` on the state as a whole."""

    site: str
    user: str
    now: int
    ruleset: int
    generation: int
    is_customer: bool
    notes: list[str]
    campaigns: list[CampaignAnswer]
