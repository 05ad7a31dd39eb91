"""What the functions say to each other: every payload, in one place.

All payloads are JSON. ``v`` is the version of the contract: a function refuses one it does not
know, so that two halves of a rolling deploy never misread each other. Times are whole
milliseconds since the Unix epoch, UTC. ``site`` is a site id, ``user`` a user id as the site
knows it (visitors without one are ``anon:<anonymous id>``).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from shared.identities import Identification, Identity, PopupEvent

VERSION = 2
ANONYMOUS_PREFIX = "anon:"
# The events that page and screen calls are: one name for all, their ``name`` and ``category`` are attributes.
PAGE_VIEWED, SCREEN_VIEWED = "Page Viewed", "Screen Viewed"


class Event(msgspec.Struct, tag="event", tag_field="type", omit_defaults=True):
    """One accepted event, stripped to what a live trigger reads.

    ``at``: when it happened, corrected by the server and never after ``received``.
    ``history``: replayed past; the event's own time counts as its time of receipt.
    ``mute``: the gate that stops every popup of it: ``gpc``, or ``unanswered`` where its answer can hold none.
    ``verified``: ``False`` where it counts for the visitor alone, whoever he was later known as.
    """

    user: str
    event: str
    message_id: str
    at: int
    received: int
    attributes: dict[str, Any] = {}
    history: bool = False
    mute: str = ""
    verified: bool = True


class Identify(msgspec.Struct, omit_defaults=True):
    """A visitor says who he is, and what is known of him. ``user``, ``at``, ``received`` as in `Event`.

    ``anonymous``: the visitor's row before he was known, ``anon:…``, where the call names one besides the user.
    """

    user: str
    message_id: str
    at: int
    received: int
    traits: dict[str, Any] = {}
    anonymous: str = ""
    history: bool = False


class Alias(msgspec.Struct, omit_defaults=True):
    """``previous`` was an id of ``user``: a user id or an anonymous one, as the call says it (without prefix)."""

    user: str
    previous: str
    message_id: str
    at: int
    received: int
    history: bool = False


class Group(msgspec.Struct, omit_defaults=True):
    """A user belongs to ``group``, of which ``traits`` are known."""

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
    """Gateway → Decider: which keys exist and which events matter?"""

    v: int = VERSION


class Wake(msgspec.Struct, tag="wake", tag_field="type"):
    """Schedule → Decider: see to what is due in the agendas of partitions ``first`` … ``last``.

    ``hop``: how many wakes before it, since the schedule's, have had no time for all that was due.
    """

    first: int = 0
    last: int = 1023
    hop: int = 0
    v: int = VERSION


class Woken(msgspec.Struct):
    """What a wake came to: absences that fired, and activations that were handed over again.

    ``put_off``: what could not be read. ``delayed``: activations whose delay had ended. ``left``: whether there was no
    time for all that was due.
    """

    absences: int
    handovers: int
    put_off: int = 0
    delayed: int = 0
    left: bool = False
    v: int = VERSION


class InspectUser(msgspec.Struct, tag="look", tag_field="type"):
    """Command line → Decider: what is stored of this user?"""

    site: str
    user: str
    v: int = VERSION


class CountInProgress(msgspec.Struct, tag="progress", tag_field="type"):
    """Command line → Decider: how many users have progress under each trigger of this site?"""

    site: str
    v: int = VERSION


class InProgress(msgspec.Struct):
    """The answer to `CountInProgress`: the number of users by trigger key; triggers without any are left out."""

    users: dict[str, int]
    v: int = VERSION


class ForgetUser(msgspec.Struct, tag="forget", tag_field="type"):
    """Command line → Decider, → Engager: erase all that is stored of this user."""

    site: str
    user: str
    v: int = VERSION


class Decision(msgspec.Struct, omit_defaults=True):
    """What came of one event: popup messages to show, or the code of a refusal.

    ``after_s``: when it is worth trying again.
    """

    message_id: str
    messages: list[dict[str, Any]] = []
    code: str | None = None
    message: str | None = None
    after_s: int = 0


class Decided(msgspec.Struct):
    """Decider → Gateway: one decision per event, in the order of the request."""

    decisions: list[Decision]
    v: int = VERSION


class WriteKey(msgspec.Struct, omit_defaults=True):
    """A site's write key: its SHA-256 in hex, and whether it is secret (server) or public (browser).

    ``origins``: the pages that may use it, ``https://shop.example`` or ``https://*.shop.example``; none: all.
    ``identity``: ``off``, ``log`` or ``enforce``: what becomes of a user id that comes with it and is not proven.
    """

    sha256: str
    secret: bool = False
    origins: list[str] = []
    identity: str = "off"


def write_key(key: str, *, secret: bool = False, origins: Sequence[str] = (), identity: str = "off") -> WriteKey:
    """Return *key* as it is stored and compared: hashed."""
    return WriteKey(hashlib.sha256(key.encode()).hexdigest(), secret, list(origins), identity)


class SiteCatalogue(msgspec.Struct):
    """What the Gateway must know of one site: keys, event name → attributes a trigger reads, proofs of identity."""

    keys: list[WriteKey]
    events: dict[str, list[str]]
    identity: Identity = msgspec.field(default_factory=Identity)


class Catalogue(msgspec.Struct):
    """Decider → Gateway: sites by id. ``unread``: those that are there, and that the Decider could not read."""

    sites: dict[str, SiteCatalogue]
    unread: list[str] = []
    v: int = VERSION


class Activation(msgspec.Struct, omit_defaults=True):
    """Decider → Engager: execute campaign ``campaign`` of ruleset ``ruleset`` for ``user``.

    ``id`` is deterministic: the same match always has the same id. ``at``: when the match was completed;
    ``due``: when it is to be delivered, later than that where the campaign has a delay.
    ``attributes``: those of the completing event that the content uses.
    ``suppressed``: the gate that stopped it; such an activation is recorded, never delivered.
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
    v: int = VERSION


class Conversion(msgspec.Struct):
    """The goal of the activation ``id`` was reached, at ``at``. ``calls_back``: what is still held is not sent then."""

    id: str
    at: int
    calls_back: bool = False


class Doorbell(msgspec.Struct, tag="ring", tag_field="type"):
    """Doorbell → Decider: the delayed activation ``key`` is due.

    ``born``: of the state that it was written to; another one has lost it. ``lost``: what to tell the Engager then.
    """

    key: str
    born: str
    lost: Activation
    v: int = VERSION


DeciderRequest = Decide | GetCatalogue | Wake | Doorbell | InspectUser | CountInProgress | ForgetUser


class Engage(msgspec.Struct, tag="engage", tag_field="type"):
    """Decider → Engager, synchronously: render popups, record what is suppressed or converted.

    ``deadline``: answer by then.
    """

    activations: list[Activation]
    deadline: int
    conversions: list[Conversion] = []
    v: int = VERSION


class Sweep(msgspec.Struct, tag="sweep", tag_field="type"):
    """Schedule → Engager, every minute: see to what is held and to what was interrupted. ``hop``: as in `Wake`."""

    hop: int = 0
    v: int = VERSION


class Engaged(msgspec.Struct):
    """Engager → Decider: the content of each popup that was rendered, by activation id."""

    contents: dict[str, dict[str, Any]]
    v: int = VERSION
