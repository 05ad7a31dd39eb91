"""The ruleset: all live campaigns of a site, compiled, versioned and immutable.

People write campaign files; the functions read this. It is one document of the MongoDB collection ``rulesets``, and
each function decodes it once per version. The same document holds the target groups of that version, for the Refresher.
"""

from typing import Any

import msgspec

from shared.contracts import WriteKey
from shared.identities import Identity

Program = dict[str, Any]


class Matcher(msgspec.Struct, omit_defaults=True):
    """Matches an event whose name is in ``events`` and whose attributes meet ``where``.

    bits: a sum of powers of two; ``machine.lua`` defines their meaning.
    """

    events: list[str]
    bits: int
    where: dict[str, Any] = {}


class Trigger(msgspec.Struct, omit_defaults=True):
    """A compiled trigger.

    key: eight characters that change with the pattern and name its state in Redis.
    program: what ``machine.lua`` runs.
    horizon: ms after which its state no longer matters.
    per: attributes for whose values the trigger keeps separate state.
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
    """How often one user may activate a campaign: not again within ``again_after`` ms, and at most ``max``."""

    again_after: int = 0
    max: Quota | None = None


class Schedule(msgspec.Struct, omit_defaults=True):
    """When a campaign may activate.

    zone: an IANA name, or ``user`` for the customer's own.
    begin, end: ms; the end is excluded.
    days: 0 is Monday; empty means every day.
    start, stop: minutes of the day; the stop is excluded, and on the next day if it is not after the start.
    """

    zone: str
    begin: int | None = None
    end: int | None = None
    days: list[int] = []
    start: int = 0
    stop: int = 1440


class QuietHours(msgspec.Struct, omit_defaults=True):
    """Minutes of the day from ``start`` to ``stop`` (excluded) in which nothing is sent.

    zone: as in `Schedule`.
    fallback: the zone of customers whose zone is unknown; without it, their messages are held.
    drop: drop messages instead of holding them.
    """

    start: int
    stop: int
    zone: str
    fallback: str = ""
    drop: bool = False


class Variant(msgspec.Struct):
    """One version of a campaign's content. Users are assigned to variants in proportion to ``weight``."""

    id: str
    weight: int
    content: dict[str, Any]


class Goal(msgspec.Struct):
    """The goal of an activation: its event within ``within`` ms marks the activation as converted."""

    within: int


class Compound(msgspec.Struct, omit_defaults=True):
    """A target group that combines others: users in one of ``any_of``, all of ``all_of`` and none of ``none_of``.

    own: users must also be in the group's own rule or list.
    """

    own: bool = False
    any_of: list[str] = []
    all_of: list[str] = []
    none_of: list[str] = []


CANCEL, GOAL = 1, 2  # the bits of a campaign's watchers


class Campaign(msgspec.Struct, omit_defaults=True):
    """A compiled campaign.

    version: changes with anything in the campaign.
    content: empty if there are ``variants``.
    everyone: every user is a target.
    groups: the target groups; a user in any of them is a target.
    compounds: the groups, of these and of their parts, that combine others.
    reads: attributes of the completing event that the content uses.
    holdout: users in 10,000 whose activations are recorded but not delivered.
    delay, max_lateness: ms.
    watchers: events after the match, with the bits ``CANCEL`` and ``GOAL``.
    cancel_on_goal: reaching the goal cancels a delayed activation.
    send_if_lost: send a delayed activation even if its state was lost.
    until_seen: ms for which a popup is offered again until it is seen.
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
    """The sender of e-mails: an ``address`` that SES has verified, shown as ``name``.

    reply_to: the address that gets the answers, if it is another one.
    """

    address: str
    name: str = ""
    reply_to: str = ""


class TargetGroup(msgspec.Struct, omit_defaults=True):
    """A target group of a version: by rule, by list, or a combination of other groups.

    rule: a condition on customers.
    list: the name of a list. Lists are immutable; a change of members makes a new list.
    uploaded: the list is the one that ``control`` names.
    made: how it combines other groups.
    """

    id: str
    rule: dict[str, Any] | None = None
    list: str | None = None
    uploaded: bool = False
    made: Compound | None = None

    @property
    def is_found(self) -> bool:
        """Return whether a refresh must find its users, because it is not only a combination of other groups."""
        return self.made is None or self.made.own


class Ruleset(msgspec.Struct, omit_defaults=True):
    """All live campaigns of a site.

    version: 1, 2, 3 and so on.
    caps: what one user may get, by channel; ``total`` is for all channels together.
    consent: the customer's attribute that must be true, by channel.
    rates: sends per minute, by channel.
    webhook_hosts: the hosts that webhooks may call.
    events_per_user: how many events one user may send.
    name: the site's name for people.
    adapters: the products whose libraries may send events.
    event_types: by event and attribute, ``number`` or ``boolean``, where a definition says so.
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
    adapters: list[str] = []
    event_types: dict[str, dict[str, str]] = {}
    format: int = 1
