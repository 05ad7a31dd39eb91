"""What the Gateway asks the Decider: the catalogue, and decisions about events that matter."""

from collections.abc import Sequence

import msgspec

from gateway.access import Access, admit
from shared.clock import Clock
from shared.contracts import AskCatalogue, Catalogue, Decide, Decided, Decision, Event, Message
from shared.errors import Unauthorized
from shared.invoke import Invoke
from shared.polled import Polled


def ask_catalogue(decider: Invoke) -> Catalogue:
    """Return the catalogue, from the Decider."""
    return msgspec.json.decode(decider(msgspec.json.encode(AskCatalogue())), type=Catalogue)


class Decisions:
    """The Decider as the Gateway sees it. *timeout_ms*: how long it may take to decide."""

    def __init__(self, decider: Invoke, catalogue: Polled[Catalogue], clock: Clock, timeout_ms: int) -> None:
        self._decider = decider
        self._catalogue = catalogue
        self._clock = clock
        self._timeout_ms = timeout_ms

    def admit(self, key: str) -> Access:
        """Return what *key* opens; one that nobody knows may be newer than our catalogue, so that is renewed.

        Raises `Unauthorized`. Unknown keys cost the Decider at most one call in the polling interval.
        """
        catalogue = self._catalogue.get()
        try:
            return admit(key, catalogue)
        except Unauthorized:
            renewed = self._catalogue.renewed(catalogue)
            if renewed is catalogue:
                raise
            return admit(key, renewed)

    def decide(self, access: Access, messages: Sequence[Message]) -> list[Decision]:
        """Return the decisions on those events among *messages* that a live trigger names: one call, or none at all."""
        live = access.catalogue.events
        slim = [
            _slim(message, reads)
            for message in messages
            if isinstance(message, Event) and (reads := live.get(message.event)) is not None
        ]
        if not slim:
            return []
        request = Decide(access.site, slim, deadline=self._clock() + self._timeout_ms)
        return msgspec.json.decode(self._decider(msgspec.json.encode(request)), type=Decided).decisions


def _slim(event: Event, reads: Sequence[str]) -> Event:
    """Return *event* with only the attributes that a live trigger reads."""
    attributes = {name: event.attributes[name] for name in reads if name in event.attributes}
    return msgspec.structs.replace(event, attributes=attributes)
