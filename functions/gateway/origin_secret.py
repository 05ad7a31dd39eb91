"""The secret that proves that a request came through CloudFront.

During a rotation, CloudFront's edges send the old and the new secret for some minutes. The Gateway therefore accepts
the previous version too.

    put-secret-value ──▶ an environment that started earlier knows: old         ──▶ "new" arrives: reads new, old
                     ──▶ one that starts later knows:               new, old
"""

import hmac
import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.errors import OpportuneError, Unavailable

# Anyone can send a wrong secret, so not every wrong one may cause a read.
MIN_INTERVAL_MS = 60_000
RETRY_INTERVAL_MS = 10_000
# After this time the secret is read again anyway, so an old version stops being accepted.
MAX_AGE_MS = 3_600_000


def run_in_background(task: Callable[[], None]) -> None:
    """Run *task* in a thread beside the request. On Lambda it pauses with its environment."""
    threading.Thread(target=task, name="refresh", daemon=True).start()


class OriginSecret:
    """The current and the previous secret, cached, and read again when an unknown one arrives.

    read: returns both versions.
    on_error: called with the error when they cannot be read.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[str]],
        clock: Clock,
        on_error: Callable[[OpportuneError], None],
        run_later: Callable[[Callable[[], None]], None] = run_in_background,
    ) -> None:
        self._read = read
        self._clock = clock
        self._on_error = on_error
        self._run_later = run_later
        self._versions: list[bytes] = []
        self._failed = False
        self._read_at = 0

    def refresh(self) -> None:
        """Read the secret while the caller waits. If that fails, keep the known versions."""
        self._read_at = self._clock()
        try:
            self._versions = [each.encode() for each in self._read()]
            self._failed = False
        except OpportuneError as error:
            self._failed = True
            self._on_error(error)

    def matches(self, sent: str) -> bool:
        """Return whether *sent* is the current or the previous secret.

        Raises `Unavailable` if *sent* is unknown and the secret could not be read.
        """
        candidate = sent.encode("utf-8", "surrogatepass")
        age = self._clock() - self._read_at
        if self._is_known(candidate):
            if not 0 <= age < MAX_AGE_MS:  # a negative age means that the clock was set back
                self._read_at = self._clock()
                self._run_later(self.refresh)
            return True
        if not 0 <= age < (RETRY_INTERVAL_MS if self._failed else MIN_INTERVAL_MS):
            self.refresh()
        if self._is_known(candidate):
            return True
        if self._failed:
            raise Unavailable(
                "the origin of requests cannot be verified now: the secret cannot be read; retry",
                code="origin_unavailable",
            )
        return False

    def _is_known(self, candidate: bytes) -> bool:
        found = False
        for version in self._versions:
            found |= hmac.compare_digest(version, candidate)
        return found
