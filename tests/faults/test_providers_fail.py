"""F11, F12, F13: the provider is slow, breaks the connection, or rejects everything for a while."""

import random

import pytest

from tests.support.faults.history import Called
from tests.support.faults.provider import Mode
from tests.support.faults.system import Lab

UNCLEAR: list[tuple[Mode, int]] = [
    ("accept_then_timeout", 1),
    ("accept_then_reset", 1),
    ("reset", 0),
    ("error", 0),
]


@pytest.mark.parametrize(("mode", "accepted"), UNCLEAR)
def test_f11_f12_an_unclear_answer_is_unknown(lab: Lab, mode: Mode, accepted: int) -> None:
    """One request with an unknown outcome: the ledger says so, and nothing is sent again."""
    with lab.trial() as trial:
        lab.ses.will(mode)
        trial.insist(trial.user(), "pay", matches=["mail"])
        trial.wait_row("unknown")
    assert len(trial.history.of(Called)) == 1
    assert len(trial.accepted("ses")) == accepted


def test_f11_one_slow_answer_does_not_hold_up_the_others(lab: Lab) -> None:
    """Eight e-mails, a second each at the provider: all are sent, once."""
    with lab.trial() as trial:
        lab.ses.mode = "slow"
        for user in trial.users(8):
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("sent", 8)
    assert len(trial.accepted("ses")) == 8


def test_f13_a_provider_that_refuses_most(lab: Lab) -> None:
    """Nine of ten calls are rejected for a while. Afterwards each of 20 e-mails was sent once."""
    rng = random.Random(13)
    with lab.trial() as trial:
        lab.ses.choose = lambda: "throttle" if rng.random() < 0.9 else "ok"
        for user in trial.users(20):
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("failed_retryable", 5)
        assert len(trial.accepted("ses")) < 20
    assert trial.states() == [("sent", "")] * 20
    assert len(trial.history.of(Called)) < 20 * 8
