"""Random faults, and commands of operators at the worst time."""

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import msgspec
from pymongo.errors import PyMongoError

from definitions.publishing.publish import publish, roll_back
from shared.errors import OpportuneError
from tests.support.faults import points, site
from tests.support.faults.history import Lost
from tests.support.faults.provider import Mode
from tests.support.faults.servers import Replica
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial

BAD_MODES: list[Mode] = ["slow", "throttle", "error", "reset", "accept_then_timeout", "accept_then_reset", "duplicate"]
POINTS = [
    *[f"engager.{point}" for point in ("before_claim", "after_claim", "before_settle", "after_settle")],
    *[
        f"engager.{point}"
        for point in ("before_reply", "failing_reply", "spoiled_reply", "before_store_popup", "after_store_popup")
    ],
    *[
        f"decider.{point}"
        for point in ("before_apply", "after_apply", "before_enqueue", "after_enqueue", "before_reply")
    ],
    *["decider.after_engage", "decider.after_claim", "decider.before_schedule_doorbell", "gateway.before_reply"],
]
TAIL_S = (0.2, 2.0)
SNAPSHOT_S = (3.0, 8.0)


class Nemesis:
    """Injects random faults; ``counts``: how many of each kind."""

    def __init__(self, lab: Lab, trial: Trial, seed: int) -> None:
        self._lab = lab
        self._trial = trial
        self._random = random.Random(seed)
        self._snapshot: tuple[Replica, float, float] | None = None
        self.counts: Counter[str] = Counter()
        self._faults: list[Callable[[], str]] = [
            *[self._kill, self._kill_at, self._freeze, self._provider, self._time],
            *[self._lose_the_tail, self._take_snapshot, self._storm],
        ]

    def rage(self, until: float) -> None:
        """Inject faults until the monotonic clock reaches *until*."""
        while time.monotonic() < until:
            self.counts[self._random.choice(self._faults)()] += 1
            time.sleep(self._random.uniform(0.2, 2.0))
            if self._snapshot is not None and time.monotonic() > self._snapshot[2]:
                self._restore()
        if self._snapshot is not None:
            self._restore()

    def _kill(self) -> str:
        function = self._random.choice(["gateway", "decider", "engager"])
        self._trial.kill(function)
        return f"kill -9 of {function}"

    def _kill_at(self) -> str:
        point = self._random.choice(POINTS)
        points.arm(self._lab.points, point)
        return f"armed {point}"

    def _freeze(self) -> str:
        store = self._random.choice([self._lab.valkey, self._lab.mongod])
        store.freeze()
        time.sleep(self._random.choice([0.1, 0.5, 1.5, 3.0]))
        store.thaw()
        return f"frozen {store.name}"

    def _provider(self) -> str:
        provider = self._random.choice(self._lab.providers)
        mode, share = self._random.choice(BAD_MODES), self._random.choice([0.3, 0.9])
        dice = random.Random(self._random.random())
        provider.choose = lambda: mode if dice.random() < share else None
        return f"{type(provider).__name__.lower()} {mode}"

    def _time(self) -> str:
        self._lab.move_on(self._random.choice([1_000, 10_000, 60_000, 180_000]))
        return "time passes"

    def _lose_the_tail(self) -> str:
        """Let a replica take over that stopped following a moment ago."""
        if self._snapshot is not None:
            return self._time()
        self._keep_what_there_is(TAIL_S)
        assert self._snapshot is not None
        time.sleep(max(0.0, self._snapshot[2] - time.monotonic()))
        self._restore()
        return "failover with a lost tail"

    def _take_snapshot(self) -> str:
        """Restore what the store has now, after further faults."""
        if self._snapshot is not None:
            return self._kill()
        self._keep_what_there_is(SNAPSHOT_S)
        return "restored snapshot"

    def _keep_what_there_is(self, for_s: tuple[float, float]) -> None:
        replica = Replica(self._lab.subprocesses, self._lab.valkey)
        replica.start()
        began = time.time()
        replica.stop_following()
        self._snapshot = (replica, began, time.monotonic() + self._random.uniform(*for_s))

    def _restore(self) -> None:
        assert self._snapshot is not None
        replica, began, _ = self._snapshot
        try:
            replica.take_over()
        finally:
            replica.kill()
            self._snapshot = None
        self._trial.history.add(Lost(began, time.time()))

    def _storm(self) -> str:
        """Publish, roll back and refresh targets several times in a row. A command may fail, as each does alone."""
        commands = [self._publish, self._roll_back, self._refresh, self._refresh]
        for _ in range(self._random.randint(3, 8)):
            with suppress(OpportuneError, PyMongoError):
                self._random.choice(commands)()
        return "storm of publish, rollback and refresh"

    def _publish(self) -> None:
        bundle = site.bundle()
        name = f"Shop {self._random.randrange(1000)}"
        publish(self._lab.database, bundle._replace(ruleset=msgspec.structs.replace(bundle.ruleset, name=name)))

    def _roll_back(self) -> None:
        roll_back(self._lab.database, site.SITE)

    def _refresh(self) -> None:
        self._lab.refresh()
