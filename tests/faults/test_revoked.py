"""F32, F34: users who opted out or were forgotten get nothing, and held messages are released once."""

import json
import threading
import time
from collections import Counter

from engager.sweep import THREADS
from opportune.operations import forget
from opportune.system.functions import Queues
from shared.optouts import OptOuts
from shared.settings import DECIDER, ENGAGER
from tests.support.faults import site
from tests.support.faults.history import Called
from tests.support.faults.provider import SLOW_S
from tests.support.faults.servers import logs
from tests.support.faults.system import Lab
from tests.support.faults.trial import mongodb_text, redis_text, wait_for

MINUTE = site.MINUTE_MS


def test_nothing_after_an_opt_out(lab: Lab) -> None:
    """A user who opts out while an e-mail is delayed does not get it. Text messages are another channel."""
    with lab.trial() as trial:
        users = trial.users(2)
        for user in users:
            trial.insist(user, "trial", matches=["late"])
        OptOuts(lab.database.optouts).add(site.SITE, users[0], "email", "link")
        trial.revoked("opt-out", users[0], channel="email")
        trial.insist(users[0], "text", matches=["sms"])
        trial.wait_row("sent")
        lab.move_on(site.LONG_DELAY_MS)
        trial.wait_row("suppressed")
        trial.wait_row("sent", 2)
    assert trial.states() == [("sent", "")] * 2 + [("suppressed", "opt_out")]


def test_what_is_paused_waits_and_is_sent_once(lab: Lab) -> None:
    """A paused channel holds ten e-mails through three minutes of sweeps. After it resumes, each is sent once."""
    with lab.trial() as trial:
        lab.pause("channel:email")
        lab.move_on(10_000)  # until all environments have read it
        for user in trial.users(10):
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("held", 10)
        for _ in range(3):
            lab.move_on(MINUTE)
            time.sleep(0.6)
        assert trial.accepted("ses") == []
        assert trial.states() == [("held", "paused")] * 10
    assert trial.states() == [("sent", "")] * 10


def test_messages_beyond_the_rate_limit_wait_for_a_later_minute(lab: Lab) -> None:
    """70 text messages at 30 a minute: no minute has more, and all are sent once."""
    with lab.trial(within_ms=600_000) as trial:
        for user in trial.users(70):
            trial.insist(user, "text", matches=["sms"])
        wait_for(lambda: len(trial.rows()) == 70, 20)
        assert len(trial.accepted("sms")) <= 2 * site.TEXTS_PER_MINUTE  # the minute may end meanwhile
    assert trial.states() == [("sent", "")] * 70
    counts = [row["count"] for row in lab.database.send_rates.find({})]
    assert max(counts) <= site.TEXTS_PER_MINUTE


def test_f32_many_sweeps_while_sending_is_slow(lab: Lab) -> None:
    """Five concurrent sweeps over twelve held e-mails, a second each at the provider: each is sent once."""
    with lab.trial() as trial:
        lab.pause("*")
        lab.move_on(10_000)
        for user in trial.users(12):
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("held", 12)
        lab.ses.mode = "slow"
        lab.pause()
        lab.move_on(2 * MINUTE)
        sweeps = [threading.Thread(target=lab.function(ENGAGER), args=(b'{"type": "sweep"}',)) for _ in range(5)]
        for sweep in sweeps:
            sweep.start()
        for sweep in sweeps:
            sweep.join()
        trial.wait_row("sent", 12)
        time.sleep(1.5 * SLOW_S)  # time for calls that should not happen
    assert len(trial.accepted("ses")) == 12


def test_f32_killed_while_it_releases(lab: Lab) -> None:
    """The sweep dies with up to eight e-mails between claim and result: unknown. The others are sent, once each."""
    with lab.trial() as trial:
        lab.pause("*")
        lab.move_on(10_000)
        for user in trial.users(20):
            trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("held", 20)
        trial.arm("engager.before_settle")
        lab.pause()
        lab.move_on(2 * MINUTE)
        trial.wait_killed()
    states = Counter(state for state, _ in trial.states())
    assert states.keys() == {"sent", "unknown"}
    assert states["unknown"] <= THREADS
    assert len(trial.rows()) == 20


def test_an_order_calls_back_what_is_held(lab: Lab) -> None:
    """Due, but held by a pause: the order comes before the pause ends, so only the others are sent."""
    with lab.trial() as trial:
        users = trial.users(3)
        for user in users:
            trial.insist(user, "cart", matches=["delayed"])
        lab.pause("channel:email")
        lab.move_on(site.DELAY_MS)
        trial.wait_row("held", 3)
        trial.insist(users[0], "order")
        trial.revoked("cancel", users[0])
        lab.pause()
        lab.move_on(2 * site.MINUTE_MS)
        trial.wait_row("sent", 2)
    assert trial.states() == [("sent", ""), ("sent", ""), ("suppressed", "cancelled")]


def test_f34_forgotten_with_all_that_waits(lab: Lab) -> None:
    """Sent, held, delayed and dead-lettered activations: nothing more is sent, and no store or log has the name."""
    with lab.trial() as trial, lab.receives(2):
        user = trial.user()
        trial.insist(user, "pay", matches=["mail"])
        trial.wait_row("sent")
        lab.pause("channel:sms")
        lab.move_on(10_000)
        trial.insist(user, "text", matches=["sms"])
        trial.insist(user, "trial", matches=["late"])
        trial.wait_row("held")
        poison = {"id": "x", "site": site.SITE, "user": user, "v": 99}
        lab.sqs.send_message(QueueUrl=lab.stack.dead_letter_url, MessageBody=json.dumps(poison))
        schedules = dict(lab.scheduler.schedules)
        reach = forget.ForgetPorts(
            decider=lab.function(DECIDER),
            engager=lab.function(ENGAGER),
            dead=Queues(lab.sqs, list(lab.dead_letter_urls())),
            activations=lambda name, who: forget.activations(lab.database, name, who),
            sleep=lambda _: time.sleep(0.5),
        )
        done = forget.forget(site.SITE, user, reach)
        trial.revoked("forget", user)
        assert done.done
        assert lab.scheduler.schedules == {}
        for schedule in schedules.values():
            lab.sqs.send_message(QueueUrl=lab.stack.doorbells_url, MessageBody=schedule.input)
        lab.pause()
        lab.move_on(site.LONG_DELAY_MS)
        wait_for(lambda: trial.backlog().queued == 0, 20)
        trial.post(user, "pay", matches=["mail"])  # the browser does not know
    assert len(trial.accepted("ses")) == 1
    assert trial.accepted("sms") == []
    # The next pass erases what the later event left.
    forget.erase_once(site.SITE, user, reach, ())
    assert user not in mongodb_text(lab)
    assert user not in redis_text(lab)
    assert user not in logs(lab.stack.logs_dir)
    assert trial.history.of(Called)
