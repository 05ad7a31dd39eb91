"""F2: a failover loses the tail of the state store, or a snapshot is restored; its state epoch stays the same.

A real replica stops following, and takes over later. So everything that the store wrote in between is lost.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from decider.timers import LOST_AFTER_MS
from tests.support.faults import site
from tests.support.faults.servers import Replica
from tests.support.faults.system import Lab
from tests.support.faults.trial import Trial, wait_for

POLICIES = [("trial", "late", ("suppressed", "state_lost")), ("wish", "lost", ("sent", ""))]


@contextmanager
def lost_tail(lab: Lab) -> Iterator[None]:
    """Lose what the state store writes in the ``with`` block."""
    replica = Replica(lab.subprocesses, lab.valkey)
    replica.start()
    try:
        replica.stop_following()
        yield
        replica.take_over()
    finally:
        replica.kill()


def delayed(trial: Trial, user: str, event: str, campaign: str) -> None:
    """Delay an activation of *user*."""
    assert trial.post(user, event, matches=[campaign])["status"] == 200


def doorbells(lab: Lab) -> list[str]:
    """Return the doorbells that the schedules carry; the schedules are gone then."""
    found: list[str] = []
    lab.scheduler.fire(found.append)
    return found


def ring(lab: Lab, bodies: list[str]) -> None:
    """Ring *bodies*, and wait until the Decider has answered them."""
    for body in bodies:
        lab.sqs.send_message(QueueUrl=lab.stack.doorbells_url, MessageBody=body)
    wait_for(lambda: _visible(lab) == 0, 20)


def _visible(lab: Lab) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = lab.sqs.get_queue_attributes(QueueUrl=lab.stack.doorbells_url, AttributeNames=names)["Attributes"]
    return sum(int(counts[name]) for name in names)


def ring_twice(lab: Lab, bodies: list[str]) -> None:
    """Ring *bodies* now and after the grace. The second time, time jumps: SQS's own delay is not waited for."""
    ring(lab, bodies)
    lab.move_on(LOST_AFTER_MS)
    ring(lab, bodies)


@pytest.mark.parametrize(("event", "campaign", "ends"), POLICIES)
def test_f2_a_replica_without_the_tail_takes_over(lab: Lab, event: str, campaign: str, ends: tuple[str, str]) -> None:
    """A is delayed, replication stops, B is delayed, the replica takes over: A is sent once, B ends by its policy."""
    with lab.trial() as trial:
        (user,) = trial.users(1)
        delayed(trial, user, event, campaign)
        with lost_tail(lab):
            delayed(trial, user, event, campaign)
        lab.move_on(site.LONG_DELAY_MS)
        bodies = doorbells(lab)
        assert len(bodies) == 2
        ring(lab, bodies)
        trial.wait_row("sent")
        assert trial.states() == [("sent", "")]
        lab.move_on(LOST_AFTER_MS)
        ring(lab, bodies)
        wait_for(lambda: len(trial.rows()) == 2, 20)
        trial.wait_row(ends[0])
    assert Counter(trial.states()) == Counter([("sent", ""), ends])
    assert len(trial.accepted("ses")) == (2 if ends[0] == "sent" else 1)


@pytest.mark.parametrize(("event", "campaign", "ends"), POLICIES)
def test_f2_a_snapshot_is_restored(lab: Lab, event: str, campaign: str, ends: tuple[str, str]) -> None:
    """Eight of eight activations that were delayed after the snapshot end in the ledger."""
    with lab.trial() as trial:
        (user,) = trial.users(1)
        delayed(trial, user, event, campaign)
        with lost_tail(lab):
            for _ in range(8):
                delayed(trial, user, event, campaign)
        lab.move_on(site.LONG_DELAY_MS)
        ring_twice(lab, doorbells(lab))
        wait_for(lambda: len(trial.rows()) == 9, 20)
        trial.wait_row(ends[0], 8)
    assert Counter(trial.states()) == Counter([("sent", ""), *[ends] * 8])


@pytest.mark.parametrize(("event", "campaign"), [each[:2] for each in POLICIES])
def test_f2_cancelled_before_the_loss(lab: Lab, event: str, campaign: str) -> None:
    """The store goes back to before the order, whose record is in the ledger: nothing is sent."""
    with lab.trial() as trial:
        (user,) = trial.users(1)
        delayed(trial, user, event, campaign)
        with lost_tail(lab):
            trial.insist(user, "order")
            trial.revoked("cancel", user)
            wait_for(lambda: trial.states() == [("suppressed", "cancelled")], 20)
        lab.move_on(site.LONG_DELAY_MS)
        ring_twice(lab, doorbells(lab))
    assert trial.states() == [("suppressed", "cancelled")]
    assert trial.accepted("ses") == []


def test_f2_what_was_sent_before_the_loss_is_not_sent_again(lab: Lab) -> None:
    """The store goes back to before the hand-over: the ledger stops the copy, and the doorbell that rings again."""
    with lab.trial() as trial:
        (user,) = trial.users(1)
        delayed(trial, user, "wish", "lost")
        with lost_tail(lab):
            lab.move_on(site.LONG_DELAY_MS)
            bodies = doorbells(lab)
            ring(lab, bodies)
            trial.wait_row("sent")
        ring_twice(lab, bodies)
    assert trial.states() == [("sent", "")]
    assert len(trial.accepted("ses")) == 1
