"""F1, F3, F6, F7: the state store is killed, frozen, full, or loses its scripts."""

import threading
import time
from contextlib import suppress

import pytest
from redis import RedisError, ResponseError

from decider import keys
from tests.support.faults import site
from tests.support.faults.history import Expected
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial

FREEZES = [0.2, 2.0, 6.0]


def win_thrice(trial: Trial, user: str) -> None:
    """Post three wins of *user*; repeat each until it is accepted."""
    for n in range(3):
        trial.insist(user, "win", matches=["wins"] if n == 2 else [], tries=100)


def test_f1_killed_under_load_and_empty_afterwards(lab: Lab) -> None:
    """503 while it is down. Earlier decisions are not sent again when their events are repeated."""
    with lab.trial() as trial:
        before = trial.users(5)
        for user in before:
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("sent", 5)
        lab.valkey.kill()
        down = trial.post(trial.user(), "pay", matches=["mail"])
        assert (down["status"], down["code"]) == (503, "unavailable")
        lab.valkey.start()
        for expected in trial.history.of(Expected)[:5]:
            trial.post(expected.user, "pay", message_id=expected.message_id, matches=["mail"])
        for user in trial.users(5):
            trial.insist(user, "pay", matches=["mail"])
    assert trial.states() == [("sent", "")] * 10
    assert len(trial.accepted("ses")) == 10


@pytest.mark.parametrize("seconds", FREEZES)
def test_f3_frozen_and_going_on(lab: Lab, seconds: float) -> None:
    """Each win counts once, although some calls timed out and ran later: one e-mail per user."""
    with lab.trial() as trial:
        users = trial.users(4)
        threads = [threading.Thread(target=win_thrice, args=(trial, user)) for user in users]
        lab.valkey.freeze()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        lab.valkey.thaw()
        for thread in threads:
            thread.join()
    assert trial.states() == [("sent", "")] * 4


def test_f6_a_row_that_was_evicted(lab: Lab) -> None:
    """Without the row, a repeated event is decided again. It is the same activation, so it is not sent."""
    with lab.trial() as trial:
        user, name = trial.user(), trial.message_id()
        trial.post(user, "pay", message_id=name, matches=["mail"])
        trial.wait_row("sent")
        number = keys.partition(site.SITE, user)
        assert lab.valkey.client.delete(keys.row(number, site.SITE, user)) == 1
        assert trial.post(user, "pay", message_id=name, matches=["mail"])["status"] == 200
    assert len(trial.accepted("ses")) == 1


def test_f6_out_of_memory(lab: Lab) -> None:
    """503, and nothing is written in part: afterwards three wins are three wins."""
    with lab.trial() as trial:
        user = trial.user()
        trial.insist(user, "win")
        used = int(lab.valkey.client.info("memory")["used_memory"])
        lab.valkey.client.config_set("maxmemory", used // 2)
        try:
            full = [trial.post(user, "win", message_id=f"{user}-full") for _ in range(2)]
            held = trial.rows()
        finally:
            lab.valkey.client.config_set("maxmemory", 0)
        assert [(answer["status"], answer["code"]) for answer in full] == [(503, "unavailable")] * 2
        assert held == []
        trial.post(user, "win", message_id=f"{user}-full")
        trial.insist(user, "win", matches=["wins"])
    assert trial.states() == [("sent", "")]


def test_f7_the_scripts_are_gone(lab: Lab) -> None:
    """The scripts are sent again, so no event is refused."""
    with lab.trial() as trial:
        user = trial.user()
        for n in range(6):
            lab.valkey.client.script_flush()
            assert trial.post(user, "win", matches=["wins"] if n % 3 == 2 else [])["status"] == 200
    assert trial.states() == [("sent", "")] * 2


def test_f7_busy_with_another_script(lab: Lab) -> None:
    """503 while the server is busy, and correct again once that script was killed."""
    with lab.trial() as trial:
        user = trial.user()
        trial.insist(user, "win")
        hog = threading.Thread(target=_hog, args=(lab,))
        lab.valkey.client.config_set("busy-reply-threshold", 100)
        hog.start()
        time.sleep(0.5)
        busy = trial.post(user, "win", message_id=f"{user}-busy")
        lab.valkey.client.script_kill()
        hog.join()
        assert (busy["status"], busy["code"]) == (503, "unavailable")
        trial.post(user, "win", message_id=f"{user}-busy")
        trial.insist(user, "win", matches=["wins"])
    assert trial.states() == [("sent", "")]


def _hog(lab: Lab) -> None:
    with suppress(ResponseError, RedisError):
        lab.valkey.client.eval("while true do end", 0)
