"""The secret with which CloudFront shows that a request came through it.

When it is rotated, CloudFront's edges send the old one and the new one for minutes, so the one before counts as well.

    put-secret-value ──▶ an environment that started before knows: old          ──▶ "new" comes: looks again: new, old
                     ──▶ one that starts later knows:              new, old
"""

import hmac
import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.errors import OpportuneError, Unavailable

# Anybody can send a wrong one: he must not make each request a call.
PAUSE_MS = 60_000
PAUSE_AFTER_FAILURE_MS = 10_000
# Then it is looked up again whatever comes, so that what counts no more is forgotten.
OLDEST_MS = 3_600_000


def in_background(task: Callable[[], None]) -> None:
    """Run *task* beside the request; on Lambda it sleeps with its environment."""
    threading.Thread(target=task, name="look-up", daemon=True).start()


class OriginSecret:
    """What *read* returns, the secret and the one before it, kept, and looked up again when something else comes.

    *on_error* is told why it could not be looked up.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[str]],
        clock: Clock,
        on_error: Callable[[OpportuneError], None],
        later: Callable[[Callable[[], None]], None] = in_background,
    ) -> None:
        self._read = read
        self._clock = clock
        self._on_error = on_error
        self._later = later
        self._known: list[bytes] = []
        self._failed = False
        self._asked = 0

    def look_up(self) -> None:
        """Look the secret up, in the caller's time; a failure changes nothing of what is known."""
        self._asked = self._clock()
        try:
            self._known = [each.encode() for each in self._read()]
            self._failed = False
        except OpportuneError as error:
            self._failed = True
            self._on_error(error)

    def matches(self, sent: str) -> bool:
        """Return whether *sent* is the secret or the one before; raises `Unavailable` where nobody can tell."""
        given = sent.encode("utf-8", "surrogatepass")
        age = self._clock() - self._asked
        if self._knows(given):
            if not 0 <= age < OLDEST_MS:  # of the future: the clock was wrong then, or is now
                self._asked = self._clock()
                self._later(self.look_up)
            return True
        if not 0 <= age < (PAUSE_AFTER_FAILURE_MS if self._failed else PAUSE_MS):
            self.look_up()
        if self._knows(given):
            return True
        if self._failed:
            raise Unavailable("where requests come from cannot be verified now", code="origin_unavailable")
        return False

    def _knows(self, given: bytes) -> bool:
        found = False
        for each in self._known:
            found |= hmac.compare_digest(each, given)
        return found
