"""The ruleset: all live campaigns of a site, compiled, versioned and immutable.

Campaign files are for people; this is what the functions read. It lies in MongoDB as one document
of the collection ``rulesets`` and is decoded once per version by each function. Beside it, in the same
document, lie the target groups of that version, for whoever makes targets.
"""

from typing import Any

import msgspec

from shared.contracts import WriteKey
from shared.identities import Identity

Program = dict[str, Any]


class Matcher(msgspec.Struct, omit_defaults=True):
    """A test of one event: its name is in ``events`` and its attributes meet ``where``.

    ``bits``: the sum of the weights (powers of two) that ``machine.lua`` gives a meaning to.
    """

    events: list[str]
    bits: int
    where: dict[str, Any] = {}


class Trigger(msgspec.Struct, omit_defaults=True):
    """A compiled trigger.

    ``key``: eight characters that change whenever the pattern does; names the state in Redis.
    ``program``: what ``machine.lua`` runs. ``horizon``: ms after which its state means nothing.
    """

    key: str
    program: Program
    matchers: list[Matcher]
    horizon: int
    per: list[str] = []


class Quota(msgspec.Struct):
    """At most ``max`` within any ``per`` ms."""

    max: int
    per: int


class Limits(msgspec.Struct, omit_defaults=True):
    """How often one user may activate a campaign: not again within ``again_after`` ms, and within a quota."""

    again_after: int = 0
    max: Quota | None = None


class Schedule(msgspec.Struct, omit_defaults=True):
    """When a campaign may activate.

    ``begin``, ``end``: ms, the end excluded. ``days``: 0 is Monday; none: every day. ``start``, ``stop``: minutes
    of the day, the stop excluded; a stop that is not after the start is on the next day. ``zone``: an IANA name,
    or ``user`` for the customer's own.
    """

    zone: str
    begin: int | None = None
    end: int | None = None
    days: list[int] = []
    start: int = 0
    stop: int = 1440


class QuietHours(msgspec.Struct, omit_defaults=True):
    """Minutes of the day from ``start`` to ``stop`` (excluded) in which nothing is sent.

    ``zone`` as in `Schedule`; ``fallback``: for customers whose zone nobody knows; without one, their messages
    are held. ``drop``: what falls into them is dropped instead of held.
    """

    start: int
    stop: int
    zone: str
    fallback: str = ""
    drop: bool = False


class Variant(msgspec.Struct):
    """One version of a campaign's content, given to users by ``weight``."""

    id: str
    weight: int
    content: dict[str, Any]


class Goal(msgspec.Struct):
    """What an activation is for: the goal's event within ``within`` ms marks it converted."""

    within: int


class Compound(msgspec.Struct, omit_defaults=True):
    """A target group made of others: in one of ``any_of``, in every one of ``all_of`` and in none of ``none_of``.

    ``own``: and in its own rule or list, too.
    """

    own: bool = False
    any_of: list[str] = []
    all_of: list[str] = []
    none_of: list[str] = []


CANCEL, GOAL = 1, 2  # what the bits of a campaign's watchers mean


class Campaign(msgspec.Struct, omit_defaults=True):
    """A compiled campaign. ``version`` changes with anything in it; ``everyone`` needs no targets.

    ``groups``: its target groups, OR-ed; ``compounds``: those that they lead to, as far as they are made of others.
    ``reads``: attributes of the completing event that the content uses. ``watchers``: events after the match,
    with the bits ``CANCEL`` and ``GOAL``. ``holdout``: users in 10,000 whose activations are only recorded.
    ``delay``, ``max_lateness``: ms. ``cancel_on_goal``: a goal reached meanwhile cancels what is delayed.
    ``send_if_lost``: a delayed activation whose state was lost is sent all the same.
    ``variants``: where there are any, ``content`` is empty. ``until_seen``: ms for which a popup is offered again.
    """

    id: str
    version: str
    name: str
    trigger: Trigger
    channel: str
    content: dict[str, Any]
    everyone: bool = False
    groups: list[str] = []
    compounds: dict[str, Compound] = {}
    reads: list[str] = []
    priority: int = 0
    schedule: Schedule | None = None
    holdout: int = 0
    limits: Limits | None = None
    delay: int = 0
    max_lateness: int = 3_600_000
    watchers: list[Matcher] = []
    goal: Goal | None = None
    cancel_on_goal: bool = True
    quiet_hours: QuietHours | None = None
    send_if_lost: bool = False
    variants: list[Variant] = []
    until_seen: int = 0


class Sender(msgspec.Struct, omit_defaults=True):
    """The sender identity of e-mails: ``address`` verified in SES, shown as ``name``."""

    address: str
    name: str = ""


class TargetGroup(msgspec.Struct, omit_defaults=True):
    """A target group of a version: by ``rule`` (a condition on customers), by ``list``, or made of other groups.

    ``list``: the name of a list, which never changes: other members are another list (`shared.mongodb.in_list`).
    ``uploaded``: its list is the one that ``control`` names. ``made``: of which other groups.
    """

    id: str
    rule: dict[str, Any] | None = None
    list: str | None = None
    uploaded: bool = False
    made: Compound | None = None

    @property
    def is_found(self) -> bool:
        """Return whether its users have to be looked for: it is more than a combination of other groups."""
        return self.made is None or self.made.own


class Ruleset(msgspec.Struct, omit_defaults=True):
    """All live campaigns of ``site``, version ``version`` (1, 2, 3 …). ``name``: of the site, for people.

    ``caps``: per channel, or ``total`` for all together, what one user may get. ``consent``: the customer's
    attribute that must be true, per channel. ``rates``: sends per minute, per channel.
    ``webhook_hosts``: where webhooks may go. ``events_per_user``: what one user's events may come to.
    """

    site: str
    version: int
    keys: list[WriteKey]
    campaigns: list[Campaign]
    sender: Sender | None = None
    caps: dict[str, Quota] = {}
    consent: dict[str, str] = {}
    rates: dict[str, int] = {}
    webhook_hosts: list[str] = []
    identity: Identity = msgspec.field(default_factory=Identity)
    events_per_user: Quota | None = None
    name: str = ""
    format: int = 1
