"""A randomised run: steady traffic, random faults, a calm phase, then the check of the whole history.

``python -m tests.faults.chaos [--minutes 10] [--seed N]``. The seed decides the traffic and the faults, but not
their exact timing. If an invariant is violated, the history is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.faults.bells import Bells
from tests.support.faults.crowd import TARGETS, TRAFFIC, Lane
from tests.support.faults.history import Called, Lost, Posted, Revoked, Row
from tests.support.faults.invariants import stopped_without_cause
from tests.support.faults.nemesis import Nemesis
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial

LANES = 4
RECEIVES, VISIBILITY_S = 50, 35  # longer than an Engager may take, as on AWS
SETTLE_S = 20
POLL_S = 10  # as on AWS, so functions use old pointers while definitions and targets change
WITHIN_MS = 3 * 60 * 60_000  # the longest delay is two hours


def run(folder: Path, *, minutes: float, seed: int, events: list[str]) -> bool:
    """Run in *folder*; print a summary, and return whether all invariants hold."""
    print(f"seed {seed}, {minutes:g} minutes, events: {', '.join(events)}", flush=True)
    with Lab(folder, POLL_S) as lab, lab.receives(RECEIVES, VISIBILITY_S), Bells(lab) as bells:
        trial = lab.begin()
        trial.bells, trial.settle_s = bells, VISIBILITY_S + SETTLE_S
        targets = trial.users(TARGETS)
        lab.database.customers.update_many({"user": {"$in": targets}}, {"$set": {"attributes.tier": "vip"}})
        lab.refresh()
        lanes = [Lane(trial, seed * LANES + n, events, targets) for n in range(LANES)]
        nemesis = Nemesis(lab, trial, seed)
        for lane in lanes:
            lane.start()
        nemesis.rage(time.monotonic() + minutes * 60)
        lab.mend()
        for lane in lanes:
            lane.join()
        began = time.monotonic()
        trial.settle()
        violations = [*trial.finish(WITHIN_MS), *stopped_without_cause(trial.history.records)]
        _tell(trial, nemesis.counts, time.monotonic() - began)
        print(f"{bells.rung} doorbells", flush=True)
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
    states = Counter(f"{row.channel} {row.state} {row.reason}".rstrip() for row in trial.history.of(Row))
    print(f"ledger: {dict(sorted(states.items()))}")
    revoked = Counter(each.what for each in trial.history.of(Revoked))
    lost = sum(loss.ended - loss.began for loss in trial.history.of(Lost))
    print(f"revoked: {dict(sorted(revoked.items()))}; the state store lost {lost:.1f} s")
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
