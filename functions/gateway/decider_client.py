"""What the Gateway asks the Decider: the catalogue, and decisions about events that matter."""

import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from gateway.write_keys import Access, authenticate
from shared.clock import Clock
from shared.contracts import (
    ANONYMOUS_PREFIX,
    Alias,
    Catalogue,
    Decide,
    Decided,
    Decision,
    Event,
    GetCatalogue,
    Identify,
    Item,
    Message,
)
from shared.errors import Unauthorized, Unavailable
from shared.identities import POPUP_EVENTS, Identification, PopupEvent
from shared.invoke import Invoke
from shared.refreshing_cache import RefreshingCache

ACTIVATION_ID = re.compile(r"[0-9a-f]{32}")
ACTION = re.compile(r"(html)?[0-9]{1,2}")
LONGEST_REASON = 64


def ask_catalogue(decider: Invoke, known: Catalogue | None = None) -> Catalogue:
    """Return the catalogue, from the Decider; of sites that it could not read, what is *known*."""
    catalogue = msgspec.json.decode(decider(msgspec.json.encode(GetCatalogue())), type=Catalogue)
    before = known.sites if known else {}
    catalogue.sites |= {site: before[site] for site in catalogue.unread if site in before}
    catalogue.unread = [site for site in catalogue.unread if site not in catalogue.sites]
    return catalogue


class DeciderClient:
    """The Decider as the Gateway sees it. *timeout_ms*: how long it may take to decide."""

    def __init__(self, decider: Invoke, catalogue: RefreshingCache[Catalogue], clock: Clock, timeout_ms: int) -> None:
        self._decider = decider
        self._catalogue = catalogue
        self._clock = clock
        self._timeout_ms = timeout_ms

    def admit(self, key: str) -> Access:
        """Return what *key* opens; one that nobody knows may be newer than our catalogue, so that is renewed.

        Raises `Unauthorized`, or `Unavailable` where it may be the key of a site that could not be read. Unknown keys
        cost the Decider at most one call in the polling interval.
        """
        catalogue = self._catalogue.get()
        with suppress(Unauthorized):
            return authenticate(key, catalogue)
        catalogue = self._catalogue.renewed(catalogue)
        try:
            return authenticate(key, catalogue)
        except Unauthorized:
            if catalogue.unread:
                raise Unavailable("the keys of a site could not be read", code="catalogue_incomplete") from None
            raise

    def decide(self, access: Access, messages: Sequence[Message]) -> list[Decision]:
        """Return the decisions on those events among *messages* that a live trigger names: one call, or none at all."""
        asked = ask(access, messages, deadline=self._clock() + self._timeout_ms)
        if not asked.items:
            return []
        return msgspec.json.decode(self._decider(msgspec.json.encode(asked)), type=Decided).decisions


def ask(access: Access, messages: Sequence[Message], *, deadline: int) -> Decide:
    """Return the request to the Decider: the items that it needs of *messages*, mostly none."""
    live = access.catalogue.events
    items: list[Item] = []
    for message in messages:
        if isinstance(message, Event):
            if message.event in POPUP_EVENTS and (popup_event := _popup_event(message)) is not None:
                items.append(popup_event)
            if (reads := live.get(message.event)) is not None:
                items.append(_slim(message, reads))
        elif (identification := _identification(message)) is not None:
            items.append(identification)
    return Decide(access.site, items, deadline)


def _slim(event: Event, reads: Sequence[str]) -> Event:
    """Return *event* with only the attributes that a live trigger reads."""
    attributes = {name: event.attributes[name] for name in reads if name in event.attributes}
    return msgspec.structs.replace(event, attributes=attributes)


def _identification(message: Message) -> Identification | None:
    """Return what *message* says about a known user; ``None`` if it says nothing."""
    if isinstance(message, Alias):
        return Identification(
            message.user, message.received, visitor=ANONYMOUS_PREFIX + message.previous, at=message.at
        )
    if not isinstance(message, Identify) or message.user.startswith(ANONYMOUS_PREFIX):
        return None
    if not message.traits and not message.anonymous:
        return None
    return Identification(message.user, message.received, message.traits, message.anonymous, at=message.at)


def _popup_event(event: Event) -> PopupEvent | None:
    """Return what the tag's *event* says about a popup; ``None`` if it does not name an activation."""
    said = event.attributes
    activation, action, reason = said.get("activation"), said.get("action"), said.get("reason")
    if not isinstance(activation, str) or not ACTIVATION_ID.fullmatch(activation):
        return None
    return PopupEvent(
        user=event.user,
        activation=activation,
        what=POPUP_EVENTS[event.event],
        at=event.at,
        action=str(action) if ACTION.fullmatch(str(action)) else "",
        reason=reason[:LONGEST_REASON] if isinstance(reason, str) else "",
    )
