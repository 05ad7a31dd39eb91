"""The payloads that the functions exchange: all of them are here.

All payloads are JSON. ``v`` is the version of the contract: a function rejects a version that it does not know, so that
two halves of a rolling deploy cannot misread each other. Times are whole milliseconds since the Unix epoch, UTC.
``site`` is a site id. ``user`` is a user id as the site knows it; a visitor without one is ``anon:<anonymous id>``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.identities import Identification, Identity, PopupEvent

VERSION = 2
ANONYMOUS_PREFIX = "anon:"
# Every page call and every screen call is an event of this name; its ``name`` and ``category`` are attributes.
PAGE_VIEWED, SCREEN_VIEWED = "Page Viewed", "Screen Viewed"


class Event(msgspec.Struct, tag="event", tag_field="type", omit_defaults=True):
    """An accepted event, with only the attributes that a live trigger reads.

    ``at``: when it happened; corrected by the server, and never after ``received``.
    ``history``: a past event that is sent again; its own time counts as its time of receipt.
    ``popup_block_reason``: the gate that stops all its popups: ``gpc``, or ``unanswered`` if no response can show one.
    ``verified``: if ``False``, it counts for the visitor only, even if the visitor has become a user since.
    ``context``: as it was sent; never passed on, see `shared.context`.
    """

    user: str
    event: str
    message_id: str
    at: int
    received: int
    attributes: dict[str, Any] = {}
    history: bool = False
    popup_block_reason: str = ""
    verified: bool = True
    context: Mapping[str, Any] = {}


class Identify(msgspec.Struct, omit_defaults=True):
    """An identify call: traits of a user, and the visitor that the user was. Other fields as in `Event`.

    ``anonymous``: the visitor, ``anon:…``, if the call names one besides the user.
    """

    user: str
    message_id: str
    at: int
    received: int
    traits: dict[str, Any] = {}
    anonymous: str = ""
    history: bool = False


class Alias(msgspec.Struct, omit_defaults=True):
    """An alias call: ``previous`` was an id of ``user``, a user id or an anonymous id without its prefix."""

    user: str
    previous: str
    message_id: str
    at: int
    received: int
    history: bool = False


class Group(msgspec.Struct, omit_defaults=True):
    """A group call: the user belongs to ``group``, which has ``traits``."""

    user: str
    group: str
    message_id: str
    at: int
    received: int
    traits: dict[str, Any] = {}
    history: bool = False


Message = Event | Identify | Alias | Group  # what the Gateway reads from a request
Item = Event | Identification | PopupEvent  # what the Decider needs of it


class Decide(msgspec.Struct, tag="decide", tag_field="type"):
    """Gateway → Decider: the items of one request to a site, in the order in which the Gateway accepted them.

    ``deadline``: the time by which the Gateway needs the decisions.
    """

    site: str
    items: list[Item]
    deadline: int
    v: int = VERSION

    @property
    def events(self) -> list[Event]:
        """The events among the items, in order: each of them gets a decision."""
        return [item for item in self.items if isinstance(item, Event)]


class GetCatalogue(msgspec.Struct, tag="catalogue", tag_field="type"):
    """Gateway → Decider: which write keys exist, and which events matter?"""

    v: int = VERSION


class Wake(msgspec.Struct, tag="wake", tag_field="type"):
    """Schedule → Decider: handle the due timers of partitions ``first`` … ``last``.

    ``hop``: how many wakes in a row, since the scheduled one, ran out of time before this one.
    """

    first: int = 0
    last: int = 1023
    hop: int = 0
    v: int = VERSION


class Woken(msgspec.Struct):
    """The result of a wake.

    ``absences``: absences that fired. ``handovers``: activations that were handed over again.
    ``rescheduled``: timers with data that could not be read. ``delayed``: activations with a delay that has ended.
    ``has_more``: whether time ran out before all due timers were handled.
    """

    absences: int
    handovers: int
    rescheduled: int = 0
    delayed: int = 0
    has_more: bool = False
    v: int = VERSION


class InspectUser(msgspec.Struct, tag="inspect_user", tag_field="type"):
    """Command line → Decider: what is stored of this user?"""

    site: str
    user: str
    v: int = VERSION


class CountInProgress(msgspec.Struct, tag="count_in_progress", tag_field="type"):
    """Command line → Decider: how many users have progress under each trigger of this site?"""

    site: str
    v: int = VERSION


class InProgress(msgspec.Struct):
    """The answer to `CountInProgress`: the number of users by trigger key, without triggers that have none."""

    users: dict[str, int]
    v: int = VERSION


class ForgetUser(msgspec.Struct, tag="forget_user", tag_field="type"):
    """Command line → Decider, → Engager: erase everything that is stored of this user."""

    site: str
    user: str
    v: int = VERSION


class Decision(msgspec.Struct, omit_defaults=True):
    """The result of one event: popups to show, or the ``code`` and ``message`` of a refusal.

    ``retry_after_s``: after how long a refused event may be sent again.
    """

    message_id: str
    messages: list[dict[str, Any]] = []
    code: str | None = None
    message: str | None = None
    retry_after_s: int = 0


class Decided(msgspec.Struct):
    """Decider → Gateway: one decision per event, in the order of the request."""

    decisions: list[Decision]
    v: int = VERSION


class WriteKey(msgspec.Struct, omit_defaults=True):
    """A site's write key: its SHA-256 in hex, and whether it is secret (server) or public (browser).

    ``origins``: the pages that may use it, ``https://shop.example`` or ``https://*.shop.example``; if empty, all may.
    ``identity``: ``off``, ``log`` or ``enforce``: how a user id without proof is treated.
    """

    sha256: str
    secret: bool = False
    origins: list[str] = []
    identity: str = "off"


def write_key(key: str, *, secret: bool = False, origins: Sequence[str] = (), identity: str = "off") -> WriteKey:
    """Return *key* hashed, as it is stored and compared."""
    return WriteKey(hashlib.sha256(key.encode()).hexdigest(), secret, list(origins), identity)


class SiteCatalogue(msgspec.Struct):
    """What the Gateway needs of one site: write keys, event name → attributes that triggers read, identity keys.

    adapters, types: as ``adapters`` and ``event_types`` in `Ruleset`, types of live events only.
    """

    keys: list[WriteKey]
    events: dict[str, list[str]]
    identity: Identity = msgspec.field(default_factory=Identity)
    adapters: list[str] = []
    types: dict[str, dict[str, str]] = {}


class Catalogue(msgspec.Struct):
    """Decider → Gateway: sites by id. ``unread``: sites that exist, but that the Decider could not read."""

    sites: dict[str, SiteCatalogue]
    unread: list[str] = []
    v: int = VERSION


class Activation(msgspec.Struct, omit_defaults=True):
    """Decider → Engager: execute campaign ``campaign`` of ruleset ``ruleset`` for ``user``.

    ``id``: always the same for the same match.
    ``at``: when the match was completed. ``due``: when it is delivered: later, if the campaign has a delay.
    ``attributes``: those of the completing event that the content uses.
    ``suppressed``: the gate that stopped it. Such an activation is recorded and never delivered.
    """

    id: str
    site: str
    user: str
    campaign: str
    ruleset: int
    channel: str
    at: int
    event: str
    message_id: str
    attributes: dict[str, Any] = {}
    per: str | None = None
    suppressed: str | None = None
    due: int = 0
    v: int = msgspec.field(default_factory=lambda: VERSION)  # a plain default would not be sent


class Conversion(msgspec.Struct):
    """The goal of the activation ``id`` was reached ``at``. ``calls_back``: if it is still held, it is not sent."""

    id: str
    at: int
    calls_back: bool = False


class Doorbell(msgspec.Struct, tag="doorbell", tag_field="type"):
    """Doorbell → Decider: the delayed activation ``key`` is due.

    ``state_epoch``: of the state that it was written to. If the current one differs, that state is lost.
    ``lost``: what the Engager gets if the state store has lost the activation.
    ``rings``: how often it rang before.
    """

    key: str
    state_epoch: str
    lost: Activation
    rings: int = 0
    v: int = VERSION


DeciderRequest = Decide | GetCatalogue | Wake | Doorbell | InspectUser | CountInProgress | ForgetUser


class Engage(msgspec.Struct, tag="engage", tag_field="type"):
    """Decider → Engager, synchronously: render popups, record suppressed activations and conversions.

    ``deadline``: the time by which the Decider needs the popups.
    """

    activations: list[Activation]
    deadline: int
    conversions: list[Conversion] = []
    v: int = VERSION


class Sweep(msgspec.Struct, tag="sweep", tag_field="type"):
    """Schedule → Engager, every minute: handle held and interrupted activations. ``hop``: as in `Wake`."""

    hop: int = 0
    v: int = VERSION


class Engaged(msgspec.Struct):
    """Engager → Decider: the content of each popup that was rendered, by activation id."""

    contents: dict[str, dict[str, Any]]
    v: int = VERSION
