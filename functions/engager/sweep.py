"""The sweep, every minute: what is held and due goes through all gates again; what was interrupted gets its name.

Several sweeps at once are harmless: each held row is taken over by one compare-and-set. Where a ceiling is reached
or a pause found, the rest of that channel or campaign is passed over, and keeps its place for the next sweep.
"""

import threading
from collections import Counter
from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import msgspec

from engager.engage import engage
from engager.ledger.backlog import Left, Way
from engager.ledger.states import Held, Outcome, State
from engager.ports import Ports
from shared.errors import OpportuneError

THREADS = 8  # as many as there are connections to the database
TRY_AGAIN_MS = 60_000
GIVE_UP_MS = 24 * 60 * 60_000


class Backlog(Protocol):
    """What the ledger still has to do; see `engager.ledger.backlog`."""

    def settle_stale(self) -> int: ...
    def due(self, closed: AbstractSet[Way] = frozenset()) -> Generator[Held, None, None]: ...
    def left(self) -> Left: ...


@dataclass(frozen=True)
class Sweeper:
    """What a sweep works with.

    ``index`` sees to the indexes, ``catch_up`` to conversions that came before their rows. ``tell`` logs what people
    should know: a sentence, and ``extra`` fields.
    """

    backlog: Backlog
    catch_up: Callable[[], int]
    index: Callable[[], None]
    tell: Callable[..., None]


class Swept(msgspec.Struct):
    """What a sweep came to: ``outcomes`` of held ones by state (`None` where another one was faster).

    ``left``: whether there was no time for all that was due.
    """

    interrupted: int
    converted: int
    outcomes: dict[str, int]
    failed: int
    held: int
    unknown_old: int
    left: bool = False


def sweep(sweeper: Sweeper, ports: Ports, has_time: Callable[[], bool]) -> Swept:
    """Sweep as long as *has_time*; what is left is for the next one. Raises `Unavailable`."""
    sweeper.index()
    interrupted = sweeper.backlog.settle_stale()
    converted = sweeper.catch_up()
    release = _Release(sweeper, ports, has_time)
    release.run()
    left = sweeper.backlog.left()
    return Swept(
        interrupted, converted, dict(release.outcomes), release.failed, left.held, left.unknown_old, release.left
    )


class _Release:
    """Delivers what is held and due, in some threads at once: most of the time is spent waiting for providers."""

    def __init__(self, sweeper: Sweeper, ports: Ports, has_time: Callable[[], bool]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed = 0
        self.left = False
        self._tell = sweeper.tell
        self._ports = ports
        self._has_time = has_time
        self._backlog = sweeper.backlog
        self._lock = threading.Lock()
        self._closed: set[Way] = set()
        self._begun: set[str] = set()
        self._due = self._backlog.due()

    def run(self) -> None:
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                for done in [threads.submit(self._work) for _ in range(THREADS)]:
                    done.result()
        finally:
            self._due.close()

    def _work(self) -> None:
        while self._has_time():
            held = self._next()
            if held is None:
                return
            self._note(held, self._engage(held))
        if self._next() is not None:
            self.left = True

    def _next(self) -> Held | None:
        with self._lock:
            for held in self._due:
                if held.activation.id not in self._begun:
                    self._begun.add(held.activation.id)
                    return held
        return None

    def _engage(self, held: Held) -> Outcome | None:
        try:
            return engage(held.activation, self._ports, held)
        except OpportuneError as error:
            code = error.code
        except Exception as error:  # noqa: BLE001 - one bad row must not keep the others
            code = type(error).__name__  # without its words, which may quote a customer
        self._tell("not released", extra={"activation": held.activation.id, "code": code})
        self._send_to_the_back(held, code)
        return None

    def _send_to_the_back(self, held: Held, code: str) -> None:
        """Let those go first that come after a row that fails; after a day of nothing but failures, give it up.

        Raises `Unavailable` where the database is away: then there is no sense in going on.
        """
        now = self._ports.clock()
        failing = held.failing or now
        if now - failing > GIVE_UP_MS:
            self._ports.ledger.claim(held.activation, State.FAILED_FINAL, code, held=held)
        else:
            self._ports.ledger.hold(held._replace(until=now + TRY_AGAIN_MS, failing=failing), code, seen=held)

    def _note(self, held: Held, outcome: Outcome | None) -> None:
        activation = held.activation
        with self._lock:
            if outcome is None:
                self.failed += 1
                return
            self.outcomes[outcome.state.value if outcome.state else "none"] += 1
            if outcome.state is State.HELD and outcome.reason == "ceiling":
                self._close(Way(activation.site, "channel", activation.channel))
            elif outcome.state is State.HELD and outcome.reason == "paused":
                self._close(Way(activation.site, "campaign", activation.campaign))

    def _close(self, way: Way) -> None:
        """Look at no more that goes this *way*: there may be a hundred thousand of them."""
        if way not in self._closed:
            self._closed.add(way)
            self._due.close()
            self._due = self._backlog.due(self._closed)
