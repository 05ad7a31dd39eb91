"""The sweep of every minute: deliver held activations that are due, and mark interrupted ones as unknown.

Several sweeps at once are harmless, because a compare-and-set claims each held row. If a sweep meets a rate limit or a
pause, it skips the other rows of that channel or campaign. They keep their place for the next sweep.
"""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from engager.engage import RETRY_MS, engage
from engager.ledger.backlog import Exclusion
from engager.ledger.states import DeliveryResult, HeldActivation, State
from engager.ports import Ports, SweepPorts
from shared.errors import OpportuneError

THREADS = 8  # as many as there are connections to the database
GIVE_UP_MS = 24 * 60 * 60_000


class SweepResult(msgspec.Struct):
    """What a sweep did.

    ``interrupted``: rows marked as unknown.
    ``converted``: early conversions moved to their rows.
    ``outcomes``: number of held activations by their new state; ``none`` if another sweep was faster.
    ``failed``: held activations whose delivery raised an error.
    ``held``, ``unknown_old``: see `BacklogCounts`.
    ``left``: whether due activations remain because time ran out.
    """

    interrupted: int
    converted: int
    outcomes: dict[str, int]
    failed: int
    held: int
    unknown_old: int
    left: bool = False


def sweep(sweep_ports: SweepPorts, ports: Ports, has_time: Callable[[], bool]) -> SweepResult:
    """Sweep as long as *has_time*; the next sweep continues. Raises `Unavailable`."""
    sweep_ports.ensure_indexes()
    interrupted = sweep_ports.backlog.mark_interrupted()
    converted = sweep_ports.apply_early_conversions()
    release = _Release(sweep_ports, ports, has_time)
    release.run()
    counts = sweep_ports.backlog.count()
    return SweepResult(
        interrupted, converted, dict(release.outcomes), release.failed, counts.held, counts.unknown_old, release.left
    )


class _Release:
    """Delivers due activations in several threads, because most of the time goes to waiting for providers."""

    def __init__(self, sweep_ports: SweepPorts, ports: Ports, has_time: Callable[[], bool]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failed = 0
        self.left = False
        self._log_warning = sweep_ports.log_warning
        self._ports = ports
        self._has_time = has_time
        self._backlog = sweep_ports.backlog
        self._lock = threading.Lock()
        self._excluded: set[Exclusion] = set()
        self._started: set[str] = set()
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
            self._count(held, self._deliver(held))
        if self._next() is not None:
            self.left = True

    def _next(self) -> HeldActivation | None:
        with self._lock:
            for held in self._due:
                if held.activation.id not in self._started:
                    self._started.add(held.activation.id)
                    return held
        return None

    def _deliver(self, held: HeldActivation) -> DeliveryResult | None:
        try:
            return engage(held.activation, self._ports, held)
        except OpportuneError as error:
            code = error.code
        except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
            code = type(error).__name__  # without the error's text, which may quote a customer
        self._log_warning("held activation not delivered", extra={"activation": held.activation.id, "code": code})
        self._postpone(held, code)
        return None

    def _postpone(self, held: HeldActivation, code: str) -> None:
        """Move a failing row behind the others; after a day of nothing but failures, give it up.

        Raises `Unavailable` if the database does not answer, which ends the sweep.
        """
        now = self._ports.clock()
        failing_since = held.failing_since or now
        if now - failing_since > GIVE_UP_MS:
            self._ports.ledger.claim(held.activation, State.FAILED_FINAL, code, held=held)
        else:
            postponed = held._replace(until=now + RETRY_MS, failing_since=failing_since)
            self._ports.ledger.hold(postponed, code, found=held)

    def _count(self, held: HeldActivation, result: DeliveryResult | None) -> None:
        activation = held.activation
        with self._lock:
            if result is None:
                self.failed += 1
                return
            self.outcomes[result.state.value if result.state else "none"] += 1
            if result.state is State.HELD and result.reason == "rate_limit":
                self._exclude(Exclusion(activation.site, "channel", activation.channel))
            elif result.state is State.HELD and result.reason == "paused":
                self._exclude(Exclusion(activation.site, "campaign", activation.campaign))

    def _exclude(self, exclusion: Exclusion) -> None:
        """Skip all other rows of *exclusion*: there may be a hundred thousand."""
        if exclusion not in self._excluded:
            self._excluded.add(exclusion)
            self._due.close()
            self._due = self._backlog.due(self._excluded)
