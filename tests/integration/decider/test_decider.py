"""The Decider on real servers: the cost of an event, by the servers' own statistics."""

from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, rulesets
from decider.handler import create_handler
from decider.ingest import ingest
from decider.store import Unreadable
from decider.wiring import MongoRulesets
from shared.contracts import Decide, Event, Item
from shared.errors import Unavailable
from tests.support.builders import THREE_WINS, compiled
from tests.support.decider_harness import T0, DeciderHarness, decider_deps, live_rulesets
from tests.support.lambdas import Context


@pytest.fixture(name="town")
def _town(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> DeciderHarness:
    town = DeciderHarness(redis_client, mongodb, [compiled(THREE_WINS, everyone=False, name="three-wins")])
    town.target(1, anna=["three-wins"])
    return town


def commands_of(town: DeciderHarness, work: Any) -> int:
    """Return how many Redis commands *work* takes: requests that the server read, each a script call."""
    town.redis_requests()
    scripts, reads = town.redis_requests()
    work()
    scripts_after, reads_after = town.redis_requests()
    counting = 2
    assert scripts_after - scripts == reads_after - reads - counting
    return scripts_after - scripts


def test_a_decided_event_is_one_redis_command_and_no_mongo_call(town: DeciderHarness) -> None:
    """Steady state of a target: fifty losses, fifty commands, nothing in MongoDB."""
    loss = {"outcome": "loss"}
    town.win("anna", "first")
    mongo = town.mongo_calls()
    assert commands_of(town, lambda: [town.win("anna", f"m{n}", at=T0 + n, attributes=loss) for n in range(50)]) == 50
    assert town.mongo_calls() == mongo


@pytest.mark.parametrize("deadline", [1, T0 - 1, T0 + 2000, 4_102_444_800_000, 2**53])
def test_any_deadline_leaves_mongodb_a_usable_limit(town: DeciderHarness, deadline: int) -> None:
    """A deadline that has passed, one far ahead, and one that no clock reaches: the user's targets are read."""
    handler = create_handler(town.deps)
    for n in range(3):
        event = Event("anna", "game_result", f"m{n}", at=T0, received=T0, attributes={"outcome": "win"})
        answer = handler(msgspec.to_builtins(Decide("demo", [event], deadline=deadline)), Context())
    assert len(answer["decisions"][0]["messages"]) == 1


def test_a_user_who_is_no_target_is_one_redis_command(town: DeciderHarness) -> None:
    """After the first lookup the row knows: one command, no call of MongoDB, no progress."""
    town.win("bob", "first")
    mongo = town.mongo_calls()
    assert commands_of(town, lambda: [town.win("bob", f"m{n}") for n in range(20)]) == 20
    assert town.mongo_calls() == mongo
    assert town.outbox.shown == []


def test_a_user_is_looked_up_once_per_generation(town: DeciderHarness) -> None:
    """The first event reads MongoDB once. After a refresh, the next one does so again and sees the change."""
    mongo = town.mongo_calls()
    town.win("bob", "1")
    looks = town.mongo_calls() - mongo
    town.target(2, bob=["three-wins"])
    town.publish_targets(2)
    town.rulesets.reload()
    mongo = town.mongo_calls()
    popups = [town.win("bob", f"g{n}", at=T0 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]
    assert town.mongo_calls() - mongo == 1
    assert looks == 1 + 2  # the first event also loads pointer and ruleset


def test_an_event_that_nothing_names_touches_nothing(town: DeciderHarness) -> None:
    """Even if the Gateway passes it on: no command."""
    town.win("anna", "first")
    assert commands_of(town, lambda: town.win("anna", "x", attributes={"outcome": "win"}, received=T0)) == 1
    event = Event(user="anna", event="page_scrolled", message_id="y", at=T0, received=T0)
    assert commands_of(town, lambda: town.ingest(Decide("demo", [event], deadline=T0))) == 0


def test_the_same_third_win_has_the_same_activation(town: DeciderHarness) -> None:
    """Sent again, it is handed over again under the same id, by which the ledger knows it."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    first, second = town.win("anna", "third", at=T0 + 2), town.win("anna", "third", at=T0 + 2)
    assert first == second != []
    assert len({activation.id for activation in town.outbox.shown}) == 1


def test_what_was_decided_is_handed_over_when_the_rest_fails(town: DeciderHarness) -> None:
    """A popup that could not be shown comes with the repeated request."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    town.outbox.broken = True
    with pytest.raises(Unavailable):
        town.win("anna", "third", at=T0 + 2)
    town.outbox.broken = False
    assert len(town.win("anna", "third", at=T0 + 2)) == 1


def test_a_row_that_cannot_be_read_leaves_the_events_of_other_users_alone(town: DeciderHarness) -> None:
    """Bob's row is garbage: the batch fails as a whole, but anna's popup is handed over, once."""
    town.target(1, bob=["three-wins"])
    for user in ("anna", "bob"):
        for n in range(2):
            town.win(user, f"{user}{n}", at=T0 + n)
    town.redis.set(keys.row(keys.partition("demo", "bob"), "demo", "bob"), "a row of another type")
    order = ["bob", "anna", "bob", "anna"]
    batch: list[Item] = [
        Event(user, "game_result", f"batch{n}", T0 + 3, T0 + 3, {"outcome": "win"}) for n, user in enumerate(order)
    ]
    with pytest.raises(Unreadable):
        town.ingest(Decide("demo", batch, T0 + 2000))
    assert [each.user for each in town.outbox.shown] == ["anna"]
    assert town.win("anna", "batch1", at=T0 + 3) != []
    assert town.win("anna", "fourth", at=T0 + 4) == []


def test_history_is_recorded_and_not_shown(town: DeciderHarness) -> None:
    """Matches of history are recorded as suppressed, popups as well."""
    popups = [town.win("anna", f"h{n}", at=T0 + n, received=T0 + 10**9, history=True) for n in range(3)]
    assert popups == [[], [], []]
    assert [(a.suppressed, a.at) for a in town.outbox.recorded] == [("history", T0 + 2)]


def test_a_popup_for_an_event_that_is_not_fresh_is_recorded_as_stale(town: DeciderHarness) -> None:
    """An event that arrives a minute late shows no popup."""
    for n in range(3):
        town.win("anna", f"m{n}", at=T0 + n, received=T0 + 60_000)
    assert ([a.suppressed for a in town.outbox.recorded], town.outbox.shown) == (["stale"], [])


@pytest.mark.parametrize("gate", ["gpc", "unanswered"])
def test_an_event_that_blocks_popups_counts_but_shows_none(town: DeciderHarness, gate: str) -> None:
    """Two wins and one that blocks popups complete the match: the gate stops it, and no cap counts it."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    town.win("anna", "m2", at=T0 + 2, popup_block_reason=gate)
    assert ([a.suppressed for a in town.outbox.recorded], town.outbox.shown) == ([gate], [])


def test_a_changed_trigger_starts_anew_and_an_unchanged_one_goes_on(town: DeciderHarness) -> None:
    """A publish keeps the progress of unchanged triggers and drops that of others."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    same = compiled(THREE_WINS, everyone=False, name="three-wins")
    same.name = "another name"
    town.publish([same], generation=1)
    town.rulesets.reload()
    assert len(town.win("anna", "m2", at=T0 + 2)) == 1
    for n in range(3, 5):
        town.win("anna", f"m{n}", at=T0 + n)
    town.publish([compiled({**THREE_WINS, "within": "9m"}, everyone=False, name="three-wins")], generation=1)
    town.rulesets.reload()
    assert [len(town.win("anna", f"m{n}", at=T0 + n)) for n in range(5, 8)] == [0, 0, 1]


def test_an_environment_with_an_old_ruleset_reloads_it(town: DeciderHarness, redis_client: Redis) -> None:
    """A function with an old ruleset learns that from the row, reloads, and decides by the new one."""
    behind = decider_deps(town.rulesets, redis_client, town.database, town.outbox)
    town.win("anna", "1")
    town.publish([compiled(THREE_WINS, everyone=False, name="three-wins")], generation=1)
    ahead = decider_deps(live_rulesets(town.database), redis_client, town.database, town.outbox)
    for n, deps in enumerate((ahead, behind)):
        event = Event("anna", "game_result", f"n{n}", T0 + n, T0 + n, {"outcome": "win"})
        (decision,) = ingest(Decide("demo", [event], deadline=T0), deps).decisions
    assert len(decision.messages) == 1
    assert town.rulesets.get()["demo"].index.ruleset.version == 2


def test_a_message_twice_in_a_batch_is_one_popup(town: DeciderHarness) -> None:
    """The completing event comes twice in one request: one activation, one popup in the response."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    third = Event("anna", "game_result", "third", T0 + 2, T0 + 2, {"outcome": "win"})
    first, again = town.ingest(Decide("demo", [third, third], deadline=T0)).decisions
    assert (len(first.messages), again.messages) == (1, [])
    assert len(town.outbox.shown) == 1


def test_a_popup_is_not_shown_an_hour_later(town: DeciderHarness) -> None:
    """The completing event, repeated after ten seconds, shows no popup."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    assert len(town.win("anna", "third", at=T0 + 2)) == 1
    assert len(town.win("anna", "third", at=T0 + 2, received=T0 + 10_002)) == 1
    assert town.win("anna", "third", at=T0 + 2, received=T0 + 10_003) == []


def test_a_ruleset_that_cannot_be_read_leaves_the_other_sites_alone(town: DeciderHarness) -> None:
    """Site b points at a missing ruleset, c at a broken one: events of a go on, and the errors are reported."""
    town.database.control.insert_one({"_id": "b", "ruleset": 7, "generation": 0})
    town.database.rulesets.insert_one({"_id": "c:1", "ruleset": {"site": "c"}})
    town.database.control.insert_one({"_id": "c", "ruleset": 1, "generation": 0})
    told: list[str] = []
    loaded = rulesets.load(MongoRulesets(town.database), None, lambda error: told.append(error.code))
    assert set(loaded) == {"demo"}
    assert sorted(told) == ["ruleset_missing", "ruleset_unreadable"]
    assert loaded.get("nobody") is None
    with pytest.raises(Unreadable):
        loaded.get("c")
    again = rulesets.load(MongoRulesets(town.database), loaded, print)
    assert again["demo"] is not None
    assert (set(rulesets.catalogue(again).sites), set(rulesets.catalogue(again).unread)) == ({"demo"}, {"b", "c"})
