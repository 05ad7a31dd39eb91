"""F20 to F23: late, early, double and lost doorbells, cancellations, and clocks that jump."""

import threading
import time

import pytest

from shared.settings import DECIDER, ENGAGER
from tests.support.faults import points, site
from tests.support.faults.provider import Mode
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial

HOUR = site.HOUR_MS
MINUTE = site.MINUTE_MS
NEARLY = site.LONG_DELAY_MS - MINUTE


def ring(lab: Lab) -> int:
    """Fire all one-time schedules into the queue of doorbells; return how many messages they sent."""
    return lab.scheduler.fire(lambda body: lab.sqs.send_message(QueueUrl=lab.stack.doorbells_url, MessageBody=body))


def delayed(lab: Lab, trial: Trial, count: int, event: str = "trial", campaign: str = "late") -> list[str]:
    """Return users, each with a delayed activation."""
    users = trial.users(count)
    for user in users:
        assert trial.post(user, event, matches=[campaign])["status"] == 200
    return users


@pytest.mark.parametrize("mode", ["ok", "duplicate", "drop"])
def test_f21_a_schedule_fires(lab: Lab, mode: Mode) -> None:
    """Once, twice or never: each activation is sent once, when it is due."""
    with lab.trial() as trial:
        lab.scheduler.mode = mode
        delayed(lab, trial, 4)
        lab.move_on(site.LONG_DELAY_MS)
        assert ring(lab) == {"ok": 4, "duplicate": 8, "drop": 0}[mode]
        trial.wait_row("sent", 4)
    assert trial.states() == [("sent", "")] * 4
    assert len(trial.accepted("ses")) == 4


def test_f21_a_schedule_fires_too_early(lab: Lab) -> None:
    """Five minutes early nothing happens; on time it is sent."""
    with lab.trial() as trial:
        delayed(lab, trial, 1)
        lab.move_on(site.LONG_DELAY_MS - 5 * MINUTE)
        assert ring(lab) == 1
        time.sleep(1)
        assert trial.rows() == []
        lab.move_on(5 * MINUTE)
        trial.wait_row("sent")
    assert len(trial.accepted("ses")) == 1


@pytest.mark.parametrize(
    ("late_ms", "ends"),
    [(59_000, ("sent", "")), (2 * HOUR, ("dropped_late", "")), (24 * HOUR, ("dropped_late", ""))],
)
def test_f21_everything_is_late(lab: Lab, late_ms: int, ends: tuple[str, str]) -> None:
    """Messages within `max_lateness` are sent, all others are dropped and recorded."""
    with lab.trial() as trial:
        delayed(lab, trial, 3)
        lab.move_on(site.LONG_DELAY_MS + late_ms)
        ring(lab)
        trial.wait_row(ends[0], 3)
    assert [state for state, _ in trial.states()] == [ends[0]] * 3
    assert len(trial.accepted("ses")) == (3 if ends[0] == "sent" else 0)


def test_f21_the_other_delay_needs_no_bell(lab: Lab) -> None:
    """A short delay uses a queue. If the queue is slow, the wake sends it shortly after it is due."""
    with lab.trial() as trial:
        delayed(lab, trial, 2, "cart", "delayed")
        lab.move_on(site.DELAY_MS - MINUTE)
        time.sleep(1)
        assert trial.rows() == []
        lab.move_on(MINUTE)
        trial.wait_row("sent", 2)


def test_f22_cancelled_before_it_fires(lab: Lab) -> None:
    """The schedule cannot be deleted and fires anyway: nothing is sent."""
    with lab.trial() as trial:
        users = delayed(lab, trial, 3)
        lab.move_on(NEARLY)
        lab.scheduler.mode = "drop"
        schedules = dict(lab.scheduler.schedules)
        for user in users:
            trial.insist(user, "order")
            trial.revoked("cancel", user)
        lab.scheduler.schedules.update(schedules)
        lab.move_on(MINUTE)
        assert ring(lab) == 3
    assert trial.states() == [("suppressed", "cancelled")] * 3
    assert trial.accepted("ses") == []


def test_f22_the_scheduler_does_not_delete(lab: Lab) -> None:
    """An error of DeleteSchedule does not reach the caller, and nothing is sent."""
    with lab.trial() as trial:
        (user,) = delayed(lab, trial, 1)
        lab.scheduler.mode = "error"
        assert trial.post(user, "order")["status"] == 200
        trial.revoked("cancel", user)
        lab.scheduler.mode = "ok"
        lab.move_on(site.LONG_DELAY_MS)
        assert ring(lab) == 1
    assert trial.states() == [("suppressed", "cancelled")]


def test_f22_cancelling_races_with_firing(lab: Lab) -> None:
    """40 orders at the moment of the due time: each activation is sent or cancelled, never both."""
    with lab.trial() as trial:
        users = delayed(lab, trial, 40)
        lab.move_on(site.LONG_DELAY_MS - 300)
        threads = [
            threading.Thread(target=lambda mine: [trial.insist(u, "order") for u in mine], args=(users[n::4],))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        ring(lab)
        for thread in threads:
            thread.join()
    sent = [row.activation for row in trial.rows() if row.state == "sent"]
    assert sorted(sent) == sorted(trial.accepted("ses"))
    assert set(trial.states()) <= {("sent", ""), ("suppressed", "cancelled")}
    assert len(trial.rows()) == 40


@pytest.mark.parametrize("mode", ["throttle", "error", "reset", "accept_then_timeout", "accept_then_reset"])
def test_f23_a_schedule_cannot_be_made(lab: Lab, mode: Mode) -> None:
    """The event is accepted all the same. With or without its schedule, the activation is sent once."""
    with lab.trial() as trial:
        lab.scheduler.will(mode)
        delayed(lab, trial, 1)
        lab.move_on(site.LONG_DELAY_MS)
        ring(lab)
        trial.wait_row("sent")
    assert len(trial.accepted("ses")) == 1


def test_f23_a_schedule_that_hangs_already(lab: Lab) -> None:
    """The repeated event finds its schedule: one schedule, one e-mail."""
    with lab.trial() as trial:
        user, name = trial.user(), trial.message_id()
        lab.scheduler.will("accept_then_reset")
        for _ in range(3):
            assert trial.post(user, "trial", message_id=name, matches=["late"])["status"] == 200
        assert len(lab.scheduler.schedules) == 1
        lab.move_on(site.LONG_DELAY_MS)
        assert ring(lab) == 1
        trial.wait_row("sent")
    assert len(trial.accepted("ses")) == 1


@pytest.mark.parametrize(
    ("event", "campaign", "ends"),
    [("trial", "late", ("suppressed", "state_lost")), ("wish", "lost", ("sent", ""))],
)
def test_f1_the_state_of_a_delayed_one_is_lost(lab: Lab, event: str, campaign: str, ends: tuple[str, str]) -> None:
    """The doorbell finds an empty store and comes twice. The campaign's policy applies once."""
    with lab.trial() as trial:
        lab.scheduler.mode = "duplicate"
        delayed(lab, trial, 2, event, campaign)
        lab.valkey.kill()
        lab.valkey.start()
        lab.move_on(site.LONG_DELAY_MS)
        assert ring(lab) == 4
        trial.wait_row(ends[0], 2)
    assert trial.states() == [ends] * 2


@pytest.mark.parametrize("hours", [-24, -1, 1, 24])
@pytest.mark.parametrize("function", [DECIDER, ENGAGER])
def test_f20_the_clock_of_one_host_jumps(lab: Lab, function: str, hours: int) -> None:
    """Whatever time one host believes it is, each match is decided once, and nothing is sent twice."""
    with lab.trial() as trial:
        users = trial.users(4)
        for user in users[:2]:
            trial.insist(user, "pay", matches=["mail"])
        points.move(lab.points, hours * HOUR, function)
        for user in users[2:]:
            trial.insist(user, "pay", matches=["mail"])
            # An Engager with a clock that is ahead reports that the deadline has passed.
            assert trial.post(user, "greet", matches=["popup"])["status"] in (200, 503)
        time.sleep(1)
    assert {row.state for row in trial.rows() if row.channel == "email"} <= {"sent", "dropped_late"}
    assert len(trial.rows()) == 6
