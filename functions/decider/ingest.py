"""A request of the Gateway: record traits and popup events, then decide the events in order."""

from decider.decide import Decider
from decider.records import Records
from shared.contracts import Decide, Decided
from shared.errors import Unavailable
from shared.identities import Identification, PopupEvent

LONGEST_NAME = 64  # of an attribute, in the log


class Ingest:
    """Takes requests in, for *decider* and *records*."""

    def __init__(self, decider: Decider, records: Records) -> None:
        self._decider = decider
        self._records = records

    def take(self, request: Decide) -> Decided:
        """Record traits and popup events, then return one decision per event, in order.

        Events are decided even if recording failed. Raises `Unavailable` if any part failed; the caller may then repeat
        the request, because whatever succeeded has no effect the second time.
        """
        failure = self._record(request)
        decided = self._decider.decide(request)
        if failure is not None:
            raise failure
        return decided

    def _record(self, request: Decide) -> Unavailable | None:
        identifications = [item for item in request.items if isinstance(item, Identification)]
        popup_events = [item for item in request.items if isinstance(item, PopupEvent)]
        try:
            for name in self._records.write_traits(request.site, identifications):
                self._decider.tell("a trait was not stored", extra={"attribute": name[:LONGEST_NAME]})
            self._records.note(request.site, popup_events)
            rules = self._decider.book.get().get(request.site) if popup_events else None
            if rules is not None and rules.plan.offers:
                self._decider.rows.see(request.site, popup_events)
        except Unavailable as error:
            return error
        return None
