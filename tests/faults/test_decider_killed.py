"""F16, F17: the Decider or the Gateway dies. Each match is decided once and delivered once."""

import pytest

from tests.support.faults.history import Expected
from tests.support.faults.system import Lab

EMAIL_POINTS = ["before_apply", "after_apply", "before_enqueue", "after_enqueue", "before_reply"]
POPUP_POINTS = ["before_apply", "after_apply", "before_engage", "after_engage", "before_reply"]


@pytest.mark.parametrize("point", EMAIL_POINTS)
def test_f16_an_email_and_the_caller_repeats(lab: Lab, point: str) -> None:
    """The first call fails with a clear error, the retry succeeds, and one e-mail is sent."""
    with lab.trial() as trial:
        user = trial.user()
        trial.arm(f"decider.{point}")
        trial.insist(user, "pay", matches=["mail"])
        trial.wait_killed()
        assert len(trial.posted()) > 1
    assert trial.states() == [("sent", "")]
    assert len(trial.accepted("ses")) == 1


@pytest.mark.parametrize("point", EMAIL_POINTS[1:])
def test_f16_an_email_and_nobody_repeats(lab: Lab, point: str) -> None:
    """A wake hands over the decision 30 seconds later, and it is sent once."""
    with lab.trial() as trial:
        user = trial.user()
        trial.arm(f"decider.{point}")
        assert trial.post(user, "pay", matches=["mail"])["status"] == 503
        trial.wait_killed()
    assert trial.states() == [("sent", "")]
    assert len(trial.accepted("ses")) == 1


@pytest.mark.parametrize("point", POPUP_POINTS)
def test_f16_a_popup_and_the_caller_repeats(lab: Lab, point: str) -> None:
    """The retry shows the popup; a third call shows the same one."""
    with lab.trial() as trial:
        user = trial.user()
        trial.arm(f"decider.{point}")
        shown = trial.insist(user, "greet", matches=["popup"])["messages"]
        trial.wait_killed()
        (expected,) = trial.history.of(Expected)
        again = trial.post(user, "greet", message_id=expected.message_id, matches=["popup"])["messages"]
        assert shown == again
        assert len(shown) == 1
    assert trial.states() == [("sent", "")]


def test_f16_a_popup_and_nobody_repeats(lab: Lab) -> None:
    """There is no response to show it in, so it is recorded as unanswered."""
    with lab.trial() as trial:
        trial.arm("decider.after_apply")
        assert trial.post(trial.user(), "greet", matches=["popup"])["status"] == 503
        trial.wait_killed()
    assert trial.states() == [("suppressed", "unanswered")]


def test_f16_killed_in_the_middle_of_a_count(lab: Lab) -> None:
    """The process dies at each of six wins, before or after the effect. Each counts once: two e-mails."""
    with lab.trial() as trial:
        user = trial.user()
        for n in range(1, 7):
            trial.arm(f"decider.{EMAIL_POINTS[n % 2]}")
            trial.insist(user, "win", matches=["wins"] if n % 3 == 0 else [])
        trial.wait_killed(6)
    assert trial.states() == [("sent", "")] * 2


def test_f16_killed_while_a_wake_hands_over(lab: Lab) -> None:
    """An absence fires, and the Decider dies before the handover. The wake after next delivers it, once."""
    with lab.trial() as trial:
        user = trial.user()
        trial.insist(user, "add", matches=["left"])
        trial.arm("decider.before_enqueue")
        lab.move_on(31 * 60_000)
        trial.wait_killed()
    assert trial.states() == [("sent", "")]
    assert len(trial.accepted("ses")) == 1


def test_f17_the_gateway_dies_after_the_decision(lab: Lab) -> None:
    """Five retries: one decision, and the same response each time."""
    with lab.trial() as trial:
        user, name = trial.user(), trial.message_id()
        trial.arm("gateway.before_reply")
        answers = [trial.post(user, "greet", message_id=name, matches=["popup"]) for _ in range(6)]
        trial.wait_killed()
    assert [answer["status"] for answer in answers] == [500] + [200] * 5
    assert len({answer["messages"][0]["id"] for answer in answers[1:]}) == 1
    assert all(answer == answers[1] for answer in answers[1:])
    assert trial.states() == [("sent", "")]
