"""A randomised run: steady traffic, random faults, a calm phase, then the check of the whole history.

``python -m tests.faults.chaos [--minutes 10] [--seed N]``. The seed decides the traffic and the faults, but not
their exact timing. If an invariant is violated, the history is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.faults import points
from tests.support.faults.history import Called, Posted, Row
from tests.support.faults.provider import Mode
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial

LANES = 4
EVENTS_PER_USER = 12
PAUSE_S = 0.05
# event -> the campaign that every such event matches, or None: see `Lane.matches`
TRAFFIC = {
    "greet": "popup",
    "pay": "mail",
    "win": None,
    "often": "limited",
    "text": "sms",
    "hook": "webhook",
    "trial": "late",
}
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
    *["decider.after_engage", "decider.after_claim", "gateway.before_reply"],
]
RECEIVES, VISIBILITY_S = 50, 35  # longer than an Engager may take, as on AWS
WITHIN_MS = 3 * 60 * 60_000  # the longest delay is two hours


class Lane:
    """Posts one event after another, for one user at a time; repeats each until it is accepted."""

    def __init__(self, trial: Trial, seed: int, events: list[str]) -> None:
        self._trial = trial
        self._random = random.Random(seed)
        self._events = events
        self.failure: Exception | None = None
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start posting."""
        self._thread.start()

    def join(self) -> None:
        """Stop, and wait until the current event is accepted; raise the error of the thread, if any."""
        self.stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                user, wins = self._trial.user(), 0
                for _ in range(EVENTS_PER_USER):
                    event = self._random.choice(self._events)
                    wins += event == "win"
                    campaign = TRAFFIC[event] or ("wins" if wins % 3 == 0 else None)
                    self._trial.insist(user, event, matches=[campaign] if campaign else [], tries=500)
                    if self.stop.wait(self._random.random() * 2 * PAUSE_S):
                        return
        except Exception as error:  # noqa: BLE001 - raised in `join`
            self.failure = error


class Nemesis:
    """Injects random faults; ``counts``: how many of each kind."""

    def __init__(self, lab: Lab, trial: Trial, seed: int) -> None:
        self._lab = lab
        self._trial = trial
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self._faults: list[Callable[[], str]] = [self._kill, self._kill_at, self._freeze, self._provider, self._time]

    def rage(self, until: float) -> None:
        """Inject faults until the monotonic clock reaches *until*."""
        while time.monotonic() < until:
            self.counts[self._random.choice(self._faults)()] += 1
            time.sleep(self._random.uniform(0.2, 2.0))

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
        self._lab.move_on(self._random.choice([1_000, 10_000, 60_000]))
        return "time passes"


def run(folder: Path, *, minutes: float, seed: int, events: list[str]) -> bool:
    """Run in *folder*; print a summary, and return whether all invariants hold."""
    print(f"seed {seed}, {minutes:g} minutes, events: {', '.join(events)}", flush=True)
    with Lab(folder) as lab, lab.receives(RECEIVES, VISIBILITY_S):
        trial = lab.begin()
        lanes = [Lane(trial, seed * LANES + n, events) for n in range(LANES)]
        nemesis = Nemesis(lab, trial, seed)
        for lane in lanes:
            lane.start()
        nemesis.rage(time.monotonic() + minutes * 60)
        lab.mend()
        for lane in lanes:
            lane.join()
        began = time.monotonic()
        violations = trial.finish(WITHIN_MS)
        _tell(trial, nemesis.counts, time.monotonic() - began)
    for violation in violations[:50]:
        print(f"{violation.invariant}: {violation.what}")
    return not violations


def _tell(trial: Trial, counts: Counter[str], seconds: float) -> None:
    posts, calls = trial.history.of(Posted), trial.history.of(Called)
    print(f"{sum(counts.values())} faults:")
    for fault, count in sorted(counts.items()):
        print(f"  {count:4} {fault}")
    statuses = Counter(post.status for post in posts)
    print(f"{len(posts)} requests, by status: {dict(sorted(statuses.items()))}")
    modes = Counter(f"{call.provider} {call.mode}" for call in calls)
    print(f"{len(calls)} calls of providers: {dict(sorted(modes.items()))}")
    states = Counter(f"{row.channel} {row.state}" for row in trial.history.of(Row))
    print(f"ledger: {dict(sorted(states.items()))}")
    print(f"drained in {seconds:.1f} s, in which {trial.drained_ms / 1000:g} s passed for the functions", flush=True)


def main() -> None:
    """Read the options, run, and keep the history if an invariant is violated."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options.add_argument("--events", default=",".join(TRAFFIC), help="which events to post, by commas")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="opportune-chaos-"))
    try:
        passed = run(folder, minutes=given.minutes, seed=given.seed, events=given.events.split(","))
    except BaseException:
        print(f"stopped; history and logs: {folder}")
        raise
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
        print("all invariants hold")
        return
    print(f"not all invariants hold; history and logs: {folder}")
    sys.exit(1)


if __name__ == "__main__":
    main()
