"""The Gateway's client of the Decider: the catalogue, and decisions about events that live triggers use."""

import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from gateway.write_keys import SiteAccess, authenticate
from shared.clock import Clock
from shared.context import project
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
MAX_REASON_LENGTH = 64


def fetch_catalogue(decider: Invoke, known: Catalogue | None = None) -> Catalogue:
    """Return the Decider's catalogue. For sites that the Decider could not read, keep the entries of *known*."""
    catalogue = msgspec.json.decode(decider(msgspec.json.encode(GetCatalogue())), type=Catalogue)
    before = known.sites if known else {}
    catalogue.sites |= {site: before[site] for site in catalogue.unread if site in before}
    catalogue.unread = [site for site in catalogue.unread if site not in catalogue.sites]
    return catalogue


class DeciderClient:
    """Calls the Decider. *timeout_ms*: how long it may take to decide."""

    def __init__(self, decider: Invoke, catalogue: RefreshingCache[Catalogue], clock: Clock, timeout_ms: int) -> None:
        self._decider = decider
        self._catalogue = catalogue
        self._clock = clock
        self._timeout_ms = timeout_ms

    def authenticate(self, key: str) -> SiteAccess:
        """Return the site that *key* belongs to.

        An unknown key may be newer than the cached catalogue, so the catalogue is fetched again: at most once per
        polling interval, however many unknown keys arrive.

        Raises `Unauthorized`, or `Unavailable` if *key* may belong to a site that the Decider could not read.
        """
        catalogue = self._catalogue.get()
        with suppress(Unauthorized):
            return authenticate(key, catalogue)
        catalogue = self._catalogue.get_fresh()
        try:
            return authenticate(key, catalogue)
        except Unauthorized:
            if catalogue.unread:
                raise Unavailable(
                    "the write key is unknown, and the keys of some sites could not be read: retry",
                    code="catalogue_incomplete",
                ) from None
            raise

    def decide(self, access: SiteAccess, messages: Sequence[Message]) -> list[Decision]:
        """Return the decisions about *messages*: one call, or none if the Decider needs none of them."""
        request = build_request(access, messages, deadline=self._clock() + self._timeout_ms)
        if not request.items:
            return []
        return msgspec.json.decode(self._decider(msgspec.json.encode(request)), type=Decided).decisions


def build_request(access: SiteAccess, messages: Sequence[Message], *, deadline: int) -> Decide:
    """Return the request to the Decider with the items that it needs of *messages*; most messages add none."""
    live = access.catalogue.events
    items: list[Item] = []
    for message in messages:
        if isinstance(message, Event):
            if message.event in POPUP_EVENTS and (popup_event := _extract_popup_event(message)) is not None:
                items.append(popup_event)
            if (reads := live.get(message.event)) is not None:
                items.append(_trim(message, reads))
        elif (identification := _extract_identification(message)) is not None:
            items.append(identification)
    return Decide(access.site, items, deadline)


def _trim(event: Event, reads: Sequence[str]) -> Event:
    """Return *event* with only the attributes that a live trigger reads."""
    return msgspec.structs.replace(event, attributes=project(event.attributes, event.context, reads), context={})


def _extract_identification(message: Message) -> Identification | None:
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


def _extract_popup_event(event: Event) -> PopupEvent | None:
    """Return what the tag's *event* says about a popup; ``None`` if it does not name an activation."""
    attributes = event.attributes
    activation, action, reason = attributes.get("activation"), attributes.get("action"), attributes.get("reason")
    if not isinstance(activation, str) or not ACTIVATION_ID.fullmatch(activation):
        return None
    return PopupEvent(
        user=event.user,
        activation=activation,
        what=POPUP_EVENTS[event.event],
        at=event.at,
        action=str(action) if ACTION.fullmatch(str(action)) else "",
        reason=reason[:MAX_REASON_LENGTH] if isinstance(reason, str) else "",
    )
