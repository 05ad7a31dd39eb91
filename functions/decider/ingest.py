"""A request of the Gateway: what came beside the events is recorded, then the events are decided, each in its turn."""

from collections import deque

from decider.decide import Decider
from decider.records import Records
from decider.store import Unreadable
from shared.contracts import Decide, Decided
from shared.errors import Unavailable

LONGEST_NAME = 64  # of an attribute, in the log


class Ingest:
    """Takes requests in, for *decider* and *records*."""

    def __init__(self, decider: Decider, records: Records) -> None:
        self._decider = decider
        self._records = records

    def take(self, request: Decide) -> Decided:
        """Return one decision per event, in order.

        A visitor becomes a user between the events where he says so. Raises `Unavailable` when a part of it is not
        done; then the request may come again, and what is done changes nothing.
        """
        failures = self._record(request)
        waiting = deque(each for each in request.introductions if each.visitor)

        def introduce(place: int) -> None:
            while waiting and waiting[0].before <= place:
                try:
                    self._decider.visitors.become(request.site, waiting[0])
                except Unreadable as error:  # of these two alone: the events of others must not wait for it
                    failures.append(error)
                waiting.popleft()

        decided = self._decider.decide(request, introduce)
        introduce(len(request.events))
        for failure in failures:
            raise failure
        return decided

    def _record(self, request: Decide) -> list[Unavailable]:
        """Record what came beside the events; a failure is returned, for they are decided all the same."""
        try:
            for name in self._records.write_traits(request.site, request.introductions):
                self._decider.tell("a trait was not stored", extra={"attribute": name[:LONGEST_NAME]})
            self._records.note(request.site, request.reports)
            rules = self._decider.book.get().get(request.site) if request.reports else None
            if rules is not None and rules.plan.offers:
                self._decider.rows.see(request.site, request.reports)
        except Unavailable as error:
            return [error]
        return []
