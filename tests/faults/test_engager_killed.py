"""F15, F24, F25: the Engager dies or gets nonsense. Nothing is sent twice or lost."""

import pytest

from tests.support.faults.history import Dead
from tests.support.faults.system import Lab

CAMPAIGN = ["mail"]
# Where the Engager is killed, and the final state of the e-mail it was sending.
POINTS = [
    ("before_claim", "sent"),
    ("after_claim", "unknown"),
    ("before_settle", "unknown"),
    ("after_settle", "sent"),
    ("before_reply", "sent"),
]
POISON = [
    "",
    "{",
    "[]",
    "null",
    '{"id": 5}',
    "[" * 5000,
    '{"id": "a", "site": "faults", "user": "\\ud800"}',
    '{"v":99,"id":"a","site":"s","user":"u","campaign":"c","ruleset":1,"channel":"email","at":1,"event":"","message_id":""}',
    "1" * 4000,
]


@pytest.mark.parametrize(("point", "state"), POINTS)
def test_f15_killed_at_a_point(lab: Lab, point: str, state: str) -> None:
    """Of six e-mails in a batch, the current one is sent or unknown, the others are sent, all at most once."""
    with lab.trial() as trial:
        users = trial.users(6)
        trial.arm(f"engager.{point}")
        for user in users:
            trial.insist(user, "pay", matches=CAMPAIGN)
        trial.wait_killed()
    states = [found for found, _ in trial.states()]
    assert sorted(states) == sorted(["sent"] * 5 + [state])


def test_f15_killed_while_the_provider_answers(lab: Lab) -> None:
    """SES has accepted, and the Engager dies before the response: unknown, and not sent again."""
    with lab.trial() as trial:
        lab.ses.will("accept_then_timeout")
        trial.insist(trial.user(), "pay", matches=CAMPAIGN)
        lab.ses.wait_accepted(1)
        trial.kill("engager")
    assert trial.states() == [("unknown", "interrupted")]
    assert len(trial.accepted("ses")) == 1


def test_f15_killed_while_a_popup_is_kept(lab: Lab) -> None:
    """The event gets 503, its retry the popup. The ledger has one row."""
    for point in ("before_store_popup", "after_store_popup"):
        with lab.trial() as trial:
            user = trial.user()
            trial.arm(f"engager.{point}")
            answer = trial.insist(user, "greet", matches=["popup"])
            trial.wait_killed()
            assert [message["campaign"] for message in answer["messages"]] == ["popup"]
        assert trial.states() == [("sent", "")]


@pytest.mark.parametrize("reply", ["failing_reply", "spoiled_reply"])
def test_f25_a_batch_that_comes_again_as_a_whole(lab: Lab, reply: str) -> None:
    """All ten were sent, but never deleted from the queue. They come again, and none is sent twice."""
    with lab.trial() as trial:
        trial.arm(f"engager.{reply}")
        for user in trial.users(10):
            trial.insist(user, "pay", matches=CAMPAIGN)
        trial.wait_killed()
    assert len(trial.accepted("ses")) == 10


def test_f24_poison_among_good_messages(lab: Lab) -> None:
    """An unreadable message ends in the dead-letter queue. The others of its batch are sent, once."""
    with lab.trial() as trial, lab.receives(2):
        for body in POISON:
            lab.sqs.send_message(QueueUrl=lab.stack.queue_url, MessageBody=body or " ")
        for user in trial.users(5):
            trial.insist(user, "pay", matches=CAMPAIGN)
    assert [state for state, _ in trial.states()] == ["sent"] * 5
    dead = [letter for letter in trial.history.of(Dead) if letter.queue == "deliveries-dead"]
    assert len(dead) >= len(POISON) - 1


def test_f24_one_customer_whose_message_cannot_be_made(lab: Lab) -> None:
    """That user's activation fails finally, with a reason. The others of the batch are sent."""
    with lab.trial() as trial:
        odd, *others = trial.users(5)
        lab.database.customers.update_one({"user": odd}, {"$set": {"attributes.email": "a@b.c, d@e.f"}})
        for user in (odd, *others):
            trial.insist(user, "pay", matches=CAMPAIGN)
    assert trial.states() == [("failed_final", "invalid_address")] + [("sent", "")] * 4
