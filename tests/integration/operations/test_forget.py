"""Forgetting a user on real servers. The id and the values are unique, so a search finds any that are left."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, user_admin
from decider.doorbells import MAX_HOP_S, schedule_name
from engager import forget as engager_forget
from engager.tombstones import MongoTombstones
from opportune.operations import forget as erasure
from opportune.system.functions import Queues
from shared.contracts import Activation, Doorbell, ForgetUser, Woken
from shared.errors import Unavailable
from shared.ruleset import Campaign
from shared.signing import pseudonym
from tests.conftest import Aws
from tests.integration.decider.test_gates import ADD, HOUR, House, campaign, cart
from tests.integration.decider.test_wake import GRACE, LEFT, MINUTE, T0, WAIT, Shop
from tests.support.builders import compiled

SECRET = "a secret of the tests, long enough"
CANARY = "canary-7f3a"
VALUE = "value-of-canary"
LEDGERS = "his {}"
LONG = 2 * MAX_HOP_S * 1000

HouseMaker = Callable[..., House]


@pytest.fixture(name="house")
def _house(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> HouseMaker:
    def make(*campaigns: Campaign) -> House:
        return House(redis_client, mongodb, campaigns, {})

    return make


def neighbour(user: str) -> str:
    """Return another user of the same partition."""
    number = keys.partition("demo", user)
    return next(name for n in range(100_000) if keys.partition("demo", name := f"neighbour-{n}") == number)


def erase(shop: Shop, user: str, site: str = "demo") -> dict[str, int]:
    """Have the Decider erase a user and return the counts."""
    return user_admin.forget(ForgetUser(site, user), shop.deps)


def traces(redis: Any, text: str) -> list[str]:
    """Return the Redis keys that contain *text* in the name or the value."""
    found = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        values = redis.hgetall(key) if kind == b"hash" else redis.zrange(key, 0, -1)
        if text in repr(key) + repr(values):
            found.append(repr(key))
    return found


def documents_with(database: Database[dict[str, Any]], text: str) -> list[str]:
    """Return the collections with a document that contains *text*."""
    return [
        name for name in database.list_collection_names() if any(text in repr(row) for row in database[name].find())
    ]


# --- the Decider ---


def test_row_timers_and_activations_are_erased_and_a_neighbour_stays(house: HouseMaker, redis_client: Redis) -> None:
    """All data of the user is erased in one step. Users of the same partition or another site keep theirs."""
    home = house(cart(delay=LONG), compiled(LEFT, channel="email", name="left"))
    other = neighbour(CANARY)
    for user in (CANARY, other):
        home.send(user, "add", 0)
    before = (home.timers(other), home.row(other), home.unacknowledged(other))
    assert [kind for kind, *_ in sorted(home.timers(CANARY))] == ["absence", "handover"]
    assert erase(home, CANARY, site="elsewhere") == dict.fromkeys(("row", "timers", "activations", "schedules"), 0)
    assert erase(home, CANARY) == {"row": 1, "timers": 2, "activations": 1, "schedules": 1}
    assert traces(redis_client, CANARY) == []
    assert (home.timers(other), home.row(other), home.unacknowledged(other)) == before
    assert sum(erase(home, CANARY).values()) == 0


def test_a_waiting_message_is_not_sent(house: HouseMaker) -> None:
    """No doorbell, wake or schedule sends it. The daily statistics count it as forgotten."""
    home = house(cart(delay=LONG), compiled(LEFT, channel="email", name="left"))
    home.send(CANARY, "add", 0)
    (ring,) = home.post.doorbells
    erase(home, CANARY)
    assert [schedule_name(key) for key in home.post.cancelled] == [schedule_name(ring.key)]
    home.answer_doorbell(CANARY, LONG)
    assert home.wake(LONG + WAIT + GRACE) == Woken(0, 0)
    assert (home.post.queued, home.post.recorded) == ([], [])
    counted: Any = home.redis.hgetall(keys.counters(keys.partition("demo", CANARY)))
    what = {tuple(json.loads(name))[2:]: int(n) for name, n in counted.items() if name != b"state_epoch"}
    assert what == {("test", "activated"): 1, ("test", "forgotten"): 1}


def test_unusual_ids_can_be_erased(house: HouseMaker, redis_client: Redis) -> None:
    """Quotes, slashes, braces, spaces and other scripts are part of an id, not a pattern."""
    home = house(cart(delay=LONG), compiled(LEFT, channel="email", name="left"))
    odd = ['a"b', "a/b", "a\\b", "{p1}", "a:b", "ä 中\u2028", "*", "", '["demo","x"]']
    for user in odd:
        home.send(user, "add", 0)
    for user in odd:
        assert erase(home, user) == {"row": 1, "timers": 2, "activations": 1, "schedules": 1}, user
        assert sum(erase(home, user).values()) == 0
    left: Any = [key for key in redis_client.scan_iter() if not key.endswith(b":n")]
    assert left == []


def test_parallel_events_come_before_or_after_an_erasure(house: HouseMaker, redis_client: Redis) -> None:
    """During repeated erasures, 80 events leave no partial data, and a last erasure leaves none at all."""
    home = house(cart(delay=LONG), compiled(LEFT, channel="email", name="left"))
    stop = threading.Event()

    def erase_repeatedly() -> None:
        while not stop.is_set():
            erase(home, CANARY)

    eraser = threading.Thread(target=erase_repeatedly)
    eraser.start()
    try:
        for n in range(80):
            home.send(CANARY, "add", n * MINUTE)
    finally:
        stop.set()
        eraser.join()
    handovers = [names for names in home.timers(CANARY) if names[0] == "handover"]
    assert len(handovers) == home.unacknowledged(CANARY)
    assert bool(home.row(CANARY)) == bool(home.timers(CANARY))
    erase(home, CANARY)
    assert traces(redis_client, CANARY) == []
    # Every schedule that was created has been removed.
    assert {ring.key for ring in home.post.doorbells} <= set(home.post.cancelled)


# --- the Engager ---


def fill(database: Database[dict[str, Any]], user: str, site: str = "demo") -> None:
    """Write *user* to every collection that can contain a user."""
    now = datetime.now(UTC)
    row = {"site": site, "user": user}
    database.customers.insert_one(
        {"_id": f"{site}:{user}", **row, "attributes": {"email": f"{VALUE}-{user}@x.example"}}
    )
    database.optouts.insert_one({"_id": f"{site}:{user}", **row, "channels": {"sms": {"at": now, "reason": "link"}}})
    for generation in (3, 4):
        database[f"targets_{site}_{generation}"].insert_one({"_id": user, "groups": ["a"]})
    for name in ("one", "another"):
        database.list_members.insert_one({"_id": {"site": site, "list": name, "user": user}})
    for state in ("sent", "sending", "held", "failed_retryable", "unknown", "suppressed"):
        database.activations.insert_one(
            {
                "_id": LEDGERS.format(state) if (site, user) == ("demo", CANARY) else f"{site} {len(user)} {state}",
                **row,
                "campaign": "a",
                "ruleset": 1,
                "channel": "email",
                "event": "add",
                "message_id": f"m {VALUE}",
                "per": f'["{VALUE}"]',
                "at": now,
                "created": now,
                "state": state,
                "reason": "cap" if state == "suppressed" else None,
                "attributes": {"cart": VALUE},
                "content": {"title": VALUE},
                "provider_id": f"ses {VALUE}",
                "held": {"activation": json.dumps({"user": user, "cart": VALUE}).encode(), "expected_at": 1},
                "field_of_tomorrow": VALUE,
            }
        )


def test_mongodb_keeps_only_a_pseudonym(mongodb: Database[dict[str, Any]]) -> None:
    """No collection contains the id or a value. The rows of the ledger stay, and none will be sent."""
    for user in (CANARY, "another-user"):
        fill(mongodb, user)
    fill(mongodb, CANARY, site="demo-2")
    forgotten = engager_forget.forget(mongodb, SECRET, "demo", CANARY)
    assert forgotten == {"tombstone": 1, "customer": 1, "targets": 2, "lists": 2, "optouts": 1, "ledger": 6}
    assert sum(engager_forget.forget(mongodb, SECRET, "demo", CANARY).values()) == 0
    rows = list(mongodb.activations.find({"site": "demo", "user": pseudonym(SECRET, "demo", CANARY)}))
    assert sorted((row["state"], row.get("reason")) for row in rows) == [
        ("sending", None),
        ("sent", None),
        ("suppressed", "cap"),
        ("suppressed", "forgotten"),
        ("suppressed", "forgotten"),
        ("unknown", None),
    ]
    kept = {"_id", *engager_forget.KEPT}
    assert all(set(row) <= kept for row in rows)
    assert mongodb.customers.count_documents({}) == 2
    assert mongodb.activations.count_documents({"user": CANARY, "site": "demo-2"}) == 6
    assert mongodb.activations.count_documents({"user": "another-user", "content": {"$exists": True}}) == 6
    for name in ("demo", "demo-2"):
        engager_forget.forget(mongodb, SECRET, name, CANARY)
    assert documents_with(mongodb, CANARY) == []


def test_the_next_pass_erases_a_late_write_of_a_delivery(mongodb: Database[dict[str, Any]]) -> None:
    """The delivery writes the provider's id to a row that already has the pseudonym."""
    fill(mongodb, CANARY)
    engager_forget.forget(mongodb, SECRET, "demo", CANARY)
    mongodb.activations.update_one({"state": "sending"}, {"$set": {"state": "sent", "provider_id": VALUE}})
    assert engager_forget.forget(mongodb, SECRET, "demo", CANARY)["ledger"] == 1
    assert documents_with(mongodb, VALUE) == []


def test_a_tombstone_identifies_a_user_without_the_id(mongodb: Database[dict[str, Any]]) -> None:
    """Only the activations of this user are pseudonymised. Another secret or site gives another hash."""
    gone = MongoTombstones(mongodb.forgotten, SECRET)
    sent = [an_activation(CANARY), an_activation("anna"), an_activation(CANARY, suppressed="cap")]
    assert (gone.has("demo", CANARY), gone.pseudonymise_forgotten(sent), gone.pseudonymise_forgotten([])) == (
        False,
        sent,
        [],
    )
    engager_forget.forget(mongodb, SECRET, "demo", CANARY)
    assert (gone.has("demo", CANARY), gone.has("demo", "anna"), gone.has("demo-2", CANARY)) == (True, False, False)
    first, second, third = gone.pseudonymise_forgotten(sent)
    assert second == sent[1]
    assert (first.suppressed, third.suppressed) == ("forgotten", "cap")
    assert (first.user, first.id, first.at) == (pseudonym(SECRET, "demo", CANARY), sent[0].id, sent[0].at)
    assert CANARY not in repr([first, third])
    assert VALUE not in repr([first, third])
    assert pseudonym(SECRET, "demo", CANARY) != pseudonym(SECRET + "!", "demo", CANARY)
    assert pseudonym(SECRET, "demo", CANARY) != pseudonym(SECRET, "demo-2", CANARY)


def an_activation(user: str, **changes: Any) -> Activation:
    """Return an activation of a user."""
    return Activation(
        id=f"id {len(user)}",
        site="demo",
        user=user,
        campaign="a",
        ruleset=1,
        channel="email",
        at=T0,
        event="add",
        message_id=f"m {VALUE}",
        attributes={"cart": VALUE},
        per=f'["{VALUE}"]',
        **changes,
    )


# --- the queues, and all of it ---


@pytest.fixture(name="dead")
def _dead(aws: Aws) -> Queues:
    sqs = aws.client("sqs")
    return Queues(sqs, [sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("deliveries-dead", "doorbells-dead")])


def bodies(dead: Queues) -> list[str]:
    """Return all messages in the queues. They stay visible for the next read."""
    found = []
    for url in dead.urls:
        while messages := dead.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            found += [message["Body"] for message in messages]
    return sorted(found)


def test_only_messages_of_the_user_leave_the_queues(dead: Queues) -> None:
    """Activations, doorbells and failed calls of the user are deleted. All other messages stay visible."""
    others = [msgspec.json.encode(an_activation(f"user-{n}", suppressed=f"mentions {CANARY}")) for n in range(23)]
    of_user = [
        msgspec.json.encode(an_activation(CANARY)),
        msgspec.json.encode(Doorbell(key="k", state_epoch="1", lost=an_activation(CANARY))),
        json.dumps({"requestPayload": {"activations": [{"site": "demo", "user": CANARY}]}}).encode(),
    ]
    for url in dead.urls:
        for body in (*others, *of_user, b"no JSON"):
            dead.sqs.send_message(QueueUrl=url, MessageBody=body.decode())
    assert erasure.purge(dead, "elsewhere", CANARY) == 0
    assert erasure.purge(dead, "demo", CANARY) == 6
    assert erasure.purge(dead, "demo", CANARY) == 0
    assert bodies(dead) == sorted([*(each.decode() for each in others), "no JSON"] * 2)


class Everything:
    """Decider, database and queues with the ports that the command uses. *on_wait* runs between passes."""

    def __init__(self, home: House, dead: Queues, on_wait: Callable[[int], None]) -> None:
        self.home, self.dead, self.on_wait, self.waits = home, dead, on_wait, 0

    def reach(self) -> erasure.ForgetPorts:
        """Return the ports of the command."""
        known = partial(erasure.activations, self.home.database)
        return erasure.ForgetPorts(self.decider, self.engager, self.dead, known, self.wait)

    def decider(self, payload: bytes) -> bytes:
        """Answer as the Decider."""
        request = msgspec.json.decode(payload, type=ForgetUser)
        return msgspec.json.encode(user_admin.forget(request, self.home.deps))

    def engager(self, payload: bytes) -> bytes:
        """Answer as the Engager."""
        request = msgspec.json.decode(payload, type=ForgetUser)
        return msgspec.json.encode(engager_forget.forget(self.home.database, SECRET, request.site, request.user))

    def wait(self, seconds: float) -> None:
        """Run ``on_wait`` instead of waiting."""
        assert seconds > 5, "an event that a Gateway has taken is decided within 5 s"
        self.waits += 1
        self.on_wait(self.waits)


@pytest.fixture(name="whole")
def _whole(house: HouseMaker, dead: Queues) -> House:
    home = house(
        cart(delay=LONG), compiled(LEFT, channel="email", name="left"), campaign(ADD, name="now", reads=["cart"])
    )
    fill(home.database, CANARY)
    home.send(CANARY, "add", 0, cart=VALUE)
    body = msgspec.json.encode(home.post.queued[0]).decode()
    assert VALUE in body
    report = {"detail": {"mail": {"destination": [VALUE], "tags": {"activation_id": [LEDGERS.format("sent")]}}}}
    for each in (body, json.dumps(report)):
        dead.sqs.send_message(QueueUrl=dead.urls[0], MessageBody=each)
    return home


def assert_gone(home: House, dead: Queues) -> None:
    """Check that no store contains the user id or a value of the user."""
    for text in (CANARY, VALUE):
        assert documents_with(home.database, text) == []
        assert traces(home.redis, text) == []
        assert not any(text in body for body in bodies(dead))


def test_no_trace_is_left(whole: House, dead: Queues) -> None:
    """The first pass erases and the second finds nothing. The totals count the erased items."""
    assert documents_with(whole.database, CANARY)
    assert traces(whole.redis, CANARY)
    erased = erasure.forget("demo", CANARY, Everything(whole, dead, lambda _: None).reach())
    assert (erased.done, len(erased.passes)) == (True, 2)
    assert erased.totals == {
        "mongodb.tombstone": 1,
        "mongodb.customer": 1,
        "mongodb.targets": 2,
        "mongodb.lists": 2,
        "mongodb.optouts": 1,
        "mongodb.ledger": 6,
        "redis.row": 1,
        "redis.timers": 2,
        "redis.activations": 1,
        "schedules": 1,
        "queues.messages": 2,
    }
    assert_gone(whole, dead)


def test_a_later_pass_erases_an_event_that_arrives_meanwhile(whole: House, dead: Queues) -> None:
    """The event is decided after the first pass. The second pass erases it, and the third finds nothing."""

    def arrive(wait: int) -> None:
        if wait == 1:
            whole.send(CANARY, "add", HOUR, cart=VALUE)

    erased = erasure.forget("demo", CANARY, Everything(whole, dead, arrive).reach())
    assert (erased.done, len(erased.passes)) == (True, 3)
    assert erased.passes[1]["redis.row"] == 1
    assert_gone(whole, dead)


@pytest.mark.parametrize("broken", ["decider", "engager"])
def test_an_erasure_that_fails_says_so(whole: House, dead: Queues, broken: str) -> None:
    """A function does not answer, after any part was erased: the command fails, and its repeat erases the rest."""
    everything = Everything(whole, dead, lambda _: None)

    def refuse(payload: bytes) -> bytes:
        raise Unavailable("away")

    reach = everything.reach()
    ports = reach._replace(decider=refuse) if broken == "decider" else reach._replace(engager=refuse)
    with pytest.raises(Unavailable):
        erasure.forget("demo", CANARY, ports)
    assert erasure.forget("demo", CANARY, everything.reach()).done
    assert_gone(whole, dead)


def test_the_command_gives_up_if_events_keep_arriving(whole: House, dead: Queues) -> None:
    """After `MAX_PASSES`, it reports that the erasure is not complete."""

    def keep_sending(wait: int) -> None:
        whole.send(CANARY, "add", wait * HOUR, cart=VALUE)

    erased = erasure.forget("demo", CANARY, Everything(whole, dead, keep_sending).reach())
    assert (erased.done, len(erased.passes)) == (False, erasure.MAX_PASSES)
