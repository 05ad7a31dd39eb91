"""Each function's rights in MongoDB, with the roles from docs/deploy.md: everything it needs, and nothing else.

The tests of the whole system run with these roles too. This module covers what they rarely or never do.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from typing import Any

import pytest

from decider.records import MongoRecords
from decider.stats import Stats
from decider.user_state import Batch
from engager.controls import load_controls
from engager.forget import forget
from engager.ledger.backlog import Backlog
from engager.ledger.conversions import Conversions
from engager.ledger.indexes import ensure_indexes
from engager.ledger.ledger import MongoLedger
from engager.mail_events import MailEventRecorder
from engager.send_rate_limiter import MongoSendRateLimiter
from opportune.system.subprocesses import Subprocesses
from preferences.storage import OptOutsUnlessForgotten, read_site_name
from refresher.plan import ALL
from refresher.refresh import End, RefreshOptions, refresh
from shared import mongodb
from shared.contracts import Conversion
from shared.errors import Unavailable
from shared.identities import Identification, PopupEvent
from shared.optouts import OptOuts
from shared.settings import DECIDER, ENGAGER, PREFERENCES, REFRESHER
from tests.integration.engager.test_ledger_later import activation
from tests.support.secured_mongod import SecuredMongod, role_arn
from tests.support.sites import NOW, Db, collections, control, crowd, listed, publish, retire, rule, targets

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(name="cluster", scope="module")
def _cluster(servers: Subprocesses) -> Iterator[SecuredMongod]:
    with SecuredMongod(servers) as cluster:
        yield cluster


@pytest.fixture(name="everything")
def _everything(cluster: SecuredMongod) -> Iterator[Db]:
    """Yield the empty database as an administrator."""
    yield cluster.admin.opportune
    cluster.admin.drop_database("opportune")


@pytest.fixture(name="of")
def _of(cluster: SecuredMongod, everything: Db) -> Iterator[Callable[[str], Db]]:
    """Return a function that opens the database with a Lambda's role."""
    opened = []

    def of(function: str) -> Db:
        opened.append(mongodb.database(cluster.url(role_arn(function)), everything.name))
        return opened[-1]

    yield of
    for database in opened:
        database.client.close()


def told(*words: object, **more: object) -> None:
    """Fail, because no error is expected."""
    raise AssertionError((words, more))


def test_the_decider_keeps_traits_reports_and_figures(of: Callable[[str], Db], everything: Db) -> None:
    """It writes attribute types, customers, popup events and daily counts, and creates an index once."""
    everything.activations.insert_one({"_id": "a1", "site": "demo", "channel": "popup"})
    database = of(DECIDER)
    records = MongoRecords(database)
    for traits in ({"plan": "gold"}, {"plan": None, "age": 30}):
        assert records.write_traits("demo", [Identification("anna", NOW, traits)]) == []
    records.record_popup_events("demo", [PopupEvent("anna", "a1", "dismissed", NOW, reason="closed")])
    batch = Batch(1, "b1", {'[20000,"demo","mail","matched"]': 2})
    for _ in range(2):
        Stats(None, database, lambda: NOW, told)._write([batch])  # type: ignore[arg-type] # they are given
    assert [row["attributes"] for row in everything.customers.find()] == [{"age": 30}]
    assert everything.activations.find_one({"dismissed_reason": "closed"})
    assert [row["matched"] for row in everything.stats.find()] == [2]
    assert "expiry" in everything.stats_batches.index_information()


def test_the_engager_writes_the_ledger_and_forgets(of: Callable[[str], Db], everything: Db) -> None:
    """It may create indexes, write send rates, early conversions, e-mail events and opt-outs, and erase a user."""
    everything.targets_demo_3.insert_one({"_id": "anna", "groups": []})
    everything.customers.insert_one({"_id": "demo:anna", "site": "demo", "user": "anna"})
    listed(everything, "few", "anna")
    database = of(ENGAGER)
    clock = count(NOW).__next__
    ensure_indexes(database)
    ensure_indexes(database)
    limiter = MongoSendRateLimiter(database.send_rates)
    assert limiter.acquire("demo", "email", 1, NOW)
    assert not limiter.acquire("demo", "email", 1, NOW)
    conversions = Conversions(database.activations, database.conversions, clock)
    conversions.mark([Conversion("a1", NOW)])
    ledger = MongoLedger(database.activations, clock)
    ledger.record_suppressed([activation("a1", user="anna", suppressed="holdout")])
    assert conversions.apply_early() == 1
    opt_outs = OptOuts(database.optouts, clock)
    bounce = {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": "anna@shop.example"}]}
    mail = {"messageId": "m1", "tags": {"activation_id": ["a1"]}}
    event = {"detail": {"eventType": "Bounce", "mail": mail, "bounce": bounce}}
    MailEventRecorder(database.activations, opt_outs, clock)(event)
    opt_outs.add("demo", "anna", "sms", "stop")
    backlog = Backlog(database.activations, clock)
    assert (backlog.mark_interrupted(), list(backlog.due()), backlog.count().held) == (0, [], 0)
    assert load_controls(database) == {}
    done = forget(database, SECRET, "demo", "anna")
    assert done == {"tombstone": 1, "customer": 1, "targets": 1, "lists": 1, "optouts": 1, "ledger": 1}


def test_a_refresh_is_taken_over_and_ends(of: Callable[[str], Db], everything: Db) -> None:
    """It may rename the collection of an abandoned refresh and drop older ones."""
    crowd(everything, 35)
    publish(everything, rule("vips", tier="vip"), listed(everything, "few", "zoe"))
    database = of(REFRESHER)
    for _ in range(3):
        hurried = RefreshOptions("hurried", lambda: NOW, has_time=lambda: False, part_size=10)
        ends = [refresh(database, "demo", [ALL], hurried).end]
        while ends[-1] is End.NO_TIME:
            ends.append(refresh(database, "demo", [], hurried).end)
        assert len(ends) > 2
    assert len(targets(everything)) == 19
    assert control(everything)["generation"] > 3
    retire(everything, minutes=10)
    assert refresh(database, "demo", [ALL], RefreshOptions("unhurried", lambda: NOW)).end is End.DONE
    assert len(collections(everything)) == 2


def test_preferences_writes_opt_outs_of_those_who_are_not_forgotten(of: Callable[[str], Db], everything: Db) -> None:
    """It may read tombstones and the name of the site."""
    publish(everything, rule("vips", tier="vip"))
    everything.rulesets.update_one({}, {"$set": {"ruleset.name": "Casino"}})
    database = of(PREFERENCES)
    opt_outs = OptOutsUnlessForgotten(OptOuts(database.optouts), database.forgotten, SECRET)
    forget(everything, SECRET, "demo", "eve")
    for user in ("anna", "anna", "eve"):
        opt_outs.add("demo", user, "email", "link")
    assert read_site_name(database, "demo") == "Casino"
    assert [row["_id"] for row in everything.optouts.find()] == ["demo:anna"]


FORBIDDEN: dict[str, list[Callable[[Any], Any]]] = {
    DECIDER: [
        lambda database: database.activations.insert_one({}),
        lambda database: database.customers.delete_one({}),
        lambda database: database.control.update_one({}, {"$set": {"ruleset": 1}}),
        lambda database: database.rulesets.insert_one({}),
        lambda database: database.activations.drop(),
    ],
    ENGAGER: [
        lambda database: database.rulesets.insert_one({}),
        lambda database: database.control.update_one({}, {"$set": {"ruleset": 1}}),
        lambda database: database.customers.insert_one({}),
        lambda database: database.activations.drop(),
    ],
    REFRESHER: [
        lambda database: database.customers.update_one({}, {"$set": {"site": ""}}),
        lambda database: database.activations.update_one({}, {"$set": {"site": ""}}),
    ],
    PREFERENCES: [
        lambda database: database.customers.find_one({}),
        lambda database: database.activations.find_one({}),
        lambda database: database.optouts.find_one({}),
        lambda database: database.optouts.delete_one({}),
    ],
}


@pytest.mark.parametrize("function", FORBIDDEN)
def test_nobody_can_do_what_is_not_his(function: str, cluster: SecuredMongod) -> None:
    """A compromised function can do only what its role allows, and sees no other database."""
    database = mongodb.database(cluster.url(role_arn(function)), "opportune")
    with closing(database.client):
        elsewhere: list[Callable[[Any], Any]] = [lambda database: database.client.other.x.find_one({})]
        for deed in FORBIDDEN[function] + elsewhere:
            with pytest.raises(Unavailable, match="the user lacks a right") as caught, mongodb.translate_errors():
                deed(database)
            assert caught.value.code == "database_refused"
