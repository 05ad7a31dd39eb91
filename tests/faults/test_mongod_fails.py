"""F9, F33: the ledger's database is killed, frozen, or rejects writes."""

import threading
import time

import msgspec
import pytest
from pymongo.errors import PyMongoError

from shared.contracts import Decide
from shared.errors import Unavailable
from shared.identities import Identification
from shared.settings import DECIDER
from tests.support.faults.history import Called
from tests.support.faults.site import SITE
from tests.support.faults.system import Lab


def test_f9_no_ledger_no_send(lab: Lab) -> None:
    """While it is down, e-mails are decided but not sent. Afterwards each is sent, once."""
    with lab.trial() as trial:
        users = trial.users(5)
        trial.insist(users[0], "look around")  # without rulesets in memory, a Decider cannot decide
        lab.mongod.kill()
        for user in users:
            trial.insist(user, "pay", matches=["mail"])
        time.sleep(2.5)
        assert trial.history.of(Called) == []
        lab.mongod.start()
        lab.mongod.wait_primary()
    assert trial.states() == [("sent", "")] * 5


def test_f9_what_was_written_survives_a_kill(lab: Lab) -> None:
    """Killed between claim and result: written rows survive, and nothing is sent twice."""
    with lab.trial() as trial:
        lab.ses.mode = "slow"
        for user in trial.users(6):
            trial.insist(user, "pay", matches=["mail"])
        lab.ses.wait_accepted(2)
        lab.mongod.kill()
        lab.mongod.start()
    assert len(trial.accepted("ses")) == len(set(trial.accepted("ses")))
    assert {state for state, _ in trial.states()} <= {"sent", "unknown"}


def test_f9_a_popup_without_the_ledger(lab: Lab) -> None:
    """It is not shown: 503. The retry shows it once the database is back."""
    with lab.trial() as trial:
        user, name = trial.user(), trial.message_id()
        lab.mongod.kill()
        down = trial.post(user, "greet", message_id=name, matches=["popup"])
        lab.mongod.start()
        lab.mongod.wait_primary()
        assert (down["status"], down["code"]) == (503, "unavailable")
        up = trial.post(user, "greet", message_id=name, matches=["popup"])
        assert [message["campaign"] for message in up["messages"]] == ["popup"]
    assert trial.states() == [("sent", "")]


def test_f10_frozen_for_a_while(lab: Lab) -> None:
    """Four seconds without a response: current activations wait or come again, and are sent once."""
    with lab.trial() as trial:
        users = trial.users(5)
        lab.mongod.freeze()
        thaw = threading.Timer(4, lab.mongod.thaw)
        thaw.start()
        for user in users:
            trial.insist(user, "pay", matches=["mail"])
        thaw.join()
    assert {state for state, _ in trial.states()} <= {"sent", "unknown"}
    assert len(trial.rows()) == 5


def test_f10_what_cannot_be_stored_is_refused_in_time(lab: Lab) -> None:
    """A frozen database blocks a Decider no longer than its caller waits; otherwise Lambda would kill it."""
    with lab.trial() as trial:
        user = trial.user()
        trial.insist(user, "look around")
        deciders = lab.processes(DECIDER)
        lab.mongod.freeze()
        known = Identification(user, lab.now(), {"tier": "vip"})
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            lab.function(DECIDER)(msgspec.json.encode(Decide(SITE, [known], lab.now() + 2_000)))
        took = time.monotonic() - begun
        lab.mongod.thaw()
        assert took < 4
        assert [each for each in deciders if each.alive()] == deciders


def test_f33_no_room_for_the_ledger(lab: Lab) -> None:
    """A database that rejects writes, as with a full disk: nothing is sent until it accepts them again."""
    with lab.trial() as trial:
        users = trial.users(3)
        _writable(lab, "fail")
        try:
            for user in users:
                trial.insist(user, "pay", matches=["mail"])
            time.sleep(2.5)
            assert trial.history.of(Called) == []
            assert trial.rows() == []
        finally:
            _writable(lab, "ok")
    assert trial.states() == [("sent", "")] * 3


def _writable(lab: Lab, how: str) -> None:
    """Make MongoDB accept writes to the ledger, or reject them by a validator that nothing passes."""
    rule = {} if how == "ok" else {"never": {"$exists": True}}
    try:
        lab.database.command("collMod", "activations", validator=rule)
    except PyMongoError:
        lab.database.create_collection("activations", validator=rule)
