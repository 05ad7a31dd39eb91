"""F26, F27: a burst, and one user with a flood of events."""

import threading
from collections.abc import Sequence

from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial


def post_all(trial: Trial, work: Sequence[tuple[str, str, str]], lanes: int = 8) -> None:
    """Post (user, event, campaign) from *lanes* threads; repeat each until it is accepted."""

    def lane(mine: Sequence[tuple[str, str, str]]) -> None:
        for user, event, campaign in mine:
            trial.insist(user, event, matches=[campaign], tries=100)

    threads = [threading.Thread(target=lane, args=(work[n::lanes],)) for n in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_f26_a_burst(lab: Lab) -> None:
    """100 e-mails and 100 popups at full speed: all are decided, and the queue drains in time."""
    with lab.trial() as trial:
        users = trial.users(100)
        post_all(trial, [(user, *what) for user in users for what in (("pay", "mail"), ("greet", "popup"))])
    assert trial.states() == [("sent", "")] * 200
    assert trial.drained_ms <= 60_000


def test_f27_one_user_who_never_stops(lab: Lab) -> None:
    """Of 100 concurrent matches of one user exactly two pass the limit. The e-mails of other users are sent."""
    with lab.trial() as trial:
        hot, *others = trial.users(6)
        work = [(hot, "often", "limited")] * 100
        for n, user in enumerate(others):
            work.insert(20 * n, (user, "pay", "mail"))
        post_all(trial, work)
    assert trial.states() == [("sent", "")] * 7 + [("suppressed", "rearm")] * 98
