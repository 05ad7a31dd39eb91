"""The Decider on real servers: what an event costs, counted from the servers' own statistics."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, rulesets
from decider.decide import Decider
from decider.store import Unreadable
from decider.user_state import UserStateStore
from decider.wiring import MongoLibrary
from shared.contracts import Activation, Conversion, Decide, Doorbell, Event, Item
from shared.errors import Unavailable
from shared.refreshing_cache import RefreshingCache
from shared.ruleset import Ruleset
from shared.targets import MongoTargets
from tests.support.builders import THREE_WINS, compiled, tell

T0 = 1_790_000_000_000
FIND_OPERATIONS = ("query", "getmore", "insert", "update", "delete")


class Outbox:
    """A `Dispatch` that keeps what it is given; *broken*: it fails."""

    def __init__(self) -> None:
        self.shown: list[Activation] = []
        self.recorded: list[Activation] = []
        self.queued: list[Activation] = []
        self.converted: list[Conversion] = []
        self.rings: list[Doorbell] = []
        self.silenced: list[str] = []
        self.broken = False

    def engage(
        self, activations: Sequence[Activation], conversions: Sequence[Conversion], deadline: int
    ) -> dict[str, dict[str, Any]]:
        """Return a popup for each activation that is not suppressed."""
        assert deadline
        if self.broken:
            raise Unavailable("broken")
        self.recorded += [activation for activation in activations if activation.suppressed]
        shown = [activation for activation in activations if not activation.suppressed]
        self.shown += shown
        self.converted += conversions
        return {activation.id: {"id": activation.id} for activation in shown}

    def queue(self, activations: Sequence[Activation]) -> None:
        """Keep the activations."""
        self.queued += activations

    def ring(self, ring: Doorbell, now: int) -> None:
        """Keep the doorbell."""
        assert ring.lost.due > now
        self.rings.append(ring)

    def silence(self, key: str) -> None:
        """Keep the key."""
        self.silenced.append(key)


class Town:
    """A Decider with a published site."""

    def __init__(self, redis: Redis, database: Database[dict[str, Any]], campaigns: Sequence[Any]) -> None:
        self.redis, self.database = redis, database
        self.version = 0
        self.publish(campaigns, generation=1)
        self.outbox = Outbox()
        library = MongoLibrary(database)
        self.book: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
            lambda present: rulesets.load(library, present, print), every_s=3600, clock=lambda: 0, on_error=print
        )
        self.decider = Decider(self.book, UserStateStore(lambda: redis), MongoTargets(database), self.outbox, tell)

    def publish(self, campaigns: Sequence[Any], *, generation: int) -> None:
        """Make *campaigns* the current ruleset."""
        self.version += 1
        ruleset = Ruleset(site="demo", version=self.version, keys=[], campaigns=list(campaigns))
        row = {"_id": f"demo:{self.version}", "ruleset": msgspec.to_builtins(ruleset)}
        self.database.rulesets.insert_one(row)
        pointer = {"_id": "demo", "ruleset": self.version, "generation": generation}
        self.database.control.replace_one({"_id": "demo"}, pointer, upsert=True)

    def target(self, generation: int, **users: list[str]) -> None:
        """Write a generation of targets."""
        self.database[f"targets_demo_{generation}"].insert_many(
            [{"_id": user, "groups": groups} for user, groups in users.items()]
        )

    def win(self, user: str, message_id: str, *, at: int = T0, **fields: Any) -> list[dict[str, Any]]:
        """Decide one win; return the popups."""
        fields = {"received": at, "attributes": {"outcome": "win"}, **fields}
        event = Event(user=user, event="game_result", message_id=message_id, at=at, **fields)
        (decision,) = self.decider.decide(Decide("demo", [event], deadline=at + 2000)).decisions
        return decision.messages

    def redis_requests(self) -> tuple[int, int]:
        """Return how many scripts were called, and how many requests were read, by the server's count."""
        scripts = self.redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        return scripts, self.redis.info("stats")["total_reads_processed"]

    def mongo_calls(self) -> int:
        """Return how many finds and writes the database server has served."""
        counters = self.database.client.admin.command("serverStatus")["opcounters"]
        return sum(counters[name] for name in FIND_OPERATIONS)


@pytest.fixture(name="town")
def _town(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> Town:
    town = Town(redis_client, mongodb, [compiled(THREE_WINS, everyone=False, name="three-wins")])
    town.target(1, anna=["three-wins"])
    return town


def commands_of(town: Town, work: Any) -> int:
    """Return the Redis commands that *work* takes: requests that the server read, each a script call."""
    town.redis_requests()
    scripts, reads = town.redis_requests()
    work()
    scripts_after, reads_after = town.redis_requests()
    counting = 2
    assert scripts_after - scripts == reads_after - reads - counting
    return scripts_after - scripts


def test_a_decided_event_is_one_redis_command_and_no_mongo_call(town: Town) -> None:
    """Steady state of a target: fifty losses, fifty commands, nothing in MongoDB."""
    loss = {"outcome": "loss"}
    town.win("anna", "first")
    mongo = town.mongo_calls()
    assert commands_of(town, lambda: [town.win("anna", f"m{n}", at=T0 + n, attributes=loss) for n in range(50)]) == 50
    assert town.mongo_calls() == mongo


def test_a_user_who_is_no_target_is_one_redis_command(town: Town) -> None:
    """After the first look, the row knows: one command, nothing in MongoDB, nothing comes of it."""
    town.win("bob", "first")
    mongo = town.mongo_calls()
    assert commands_of(town, lambda: [town.win("bob", f"m{n}") for n in range(20)]) == 20
    assert town.mongo_calls() == mongo
    assert town.outbox.shown == []


def test_a_user_is_looked_up_once_per_generation(town: Town) -> None:
    """The first event asks MongoDB once; after a refresh the next one does again, and sees the change."""
    mongo = town.mongo_calls()
    town.win("bob", "1")
    looks = town.mongo_calls() - mongo
    town.target(2, bob=["three-wins"])
    town.database.control.update_one({"_id": "demo"}, {"$set": {"generation": 2}})
    town.book.reload()
    mongo = town.mongo_calls()
    popups = [town.win("bob", f"g{n}", at=T0 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]
    assert town.mongo_calls() - mongo == 1
    assert looks == 1 + 2  # and the first event loads pointer and ruleset


def test_an_event_that_nothing_names_touches_nothing(town: Town) -> None:
    """Also when the Gateway passes it on: no command."""
    town.win("anna", "first")
    assert commands_of(town, lambda: town.win("anna", "x", attributes={"outcome": "win"}, received=T0)) == 1
    event = Event(user="anna", event="page_scrolled", message_id="y", at=T0, received=T0)
    assert commands_of(town, lambda: town.decider.decide(Decide("demo", [event], deadline=T0))) == 0


def test_the_same_third_win_has_the_same_activation(town: Town) -> None:
    """Sent again, it is handed over again under the same id; the ledger knows it by that."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    first, second = town.win("anna", "third", at=T0 + 2), town.win("anna", "third", at=T0 + 2)
    assert first == second != []
    assert len({activation.id for activation in town.outbox.shown}) == 1


def test_what_was_decided_is_handed_over_when_the_rest_fails(town: Town) -> None:
    """A popup that could not be shown comes with the repeated request."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    town.outbox.broken = True
    with pytest.raises(Unavailable):
        town.win("anna", "third", at=T0 + 2)
    town.outbox.broken = False
    assert len(town.win("anna", "third", at=T0 + 2)) == 1


def test_a_row_that_cannot_be_read_leaves_the_events_of_other_users_alone(town: Town) -> None:
    """Bob's garbage is in the middle of a batch: it fails as a whole, yet anna's popup is on its way, once."""
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
        town.decider.decide(Decide("demo", batch, T0 + 2000))
    assert [each.user for each in town.outbox.shown] == ["anna"]
    assert town.win("anna", "batch1", at=T0 + 3) != []
    assert town.win("anna", "fourth", at=T0 + 4) == []


def test_history_is_recorded_and_not_shown(town: Town) -> None:
    """Matches of the past are recorded as suppressed, popups too."""
    popups = [town.win("anna", f"h{n}", at=T0 + n, received=T0 + 10**9, history=True) for n in range(3)]
    assert popups == [[], [], []]
    assert [(a.suppressed, a.at) for a in town.outbox.recorded] == [("history", T0 + 2)]


def test_a_popup_for_an_event_that_is_not_fresh_is_recorded_as_stale(town: Town) -> None:
    """Who was offline for a minute is not shown what was meant for then."""
    for n in range(3):
        town.win("anna", f"m{n}", at=T0 + n, received=T0 + 60_000)
    assert ([a.suppressed for a in town.outbox.recorded], town.outbox.shown) == (["stale"], [])


@pytest.mark.parametrize("gate", ["gpc", "unanswered"])
def test_a_mute_event_counts_but_shows_no_popup(town: Town, gate: str) -> None:
    """Two wins and a mute one complete the match; it ends at the gate, and costs the user nothing of his caps."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    town.win("anna", "m2", at=T0 + 2, mute=gate)
    assert ([a.suppressed for a in town.outbox.recorded], town.outbox.shown) == ([gate], [])


def test_a_changed_trigger_starts_anew_and_an_unchanged_one_goes_on(town: Town) -> None:
    """A publish keeps progress of triggers that stayed the same, and drops that of others."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    same = compiled(THREE_WINS, everyone=False, name="three-wins")
    same.name = "another name"
    town.publish([same], generation=1)
    town.book.reload()
    assert len(town.win("anna", "m2", at=T0 + 2)) == 1
    for n in range(3, 5):
        town.win("anna", f"m{n}", at=T0 + n)
    town.publish([compiled({**THREE_WINS, "within": "9m"}, everyone=False, name="three-wins")], generation=1)
    town.book.reload()
    assert [len(town.win("anna", f"m{n}", at=T0 + n)) for n in range(5, 8)] == [0, 0, 1]


def test_an_environment_with_an_old_ruleset_reloads_it(town: Town, redis_client: Redis) -> None:
    """A function that is behind notices by the row, reloads, and decides by the new rules."""
    behind = Decider(town.book, UserStateStore(lambda: redis_client), MongoTargets(town.database), town.outbox, tell)
    town.win("anna", "1")
    town.publish([compiled(THREE_WINS, everyone=False, name="three-wins")], generation=1)
    library = MongoLibrary(town.database)
    ahead_book: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
        lambda present: rulesets.load(library, present, print), every_s=3600, clock=lambda: 0, on_error=print
    )
    ahead = Decider(ahead_book, UserStateStore(lambda: redis_client), MongoTargets(town.database), town.outbox, tell)
    for n, decider in enumerate((ahead, behind)):
        event = Event("anna", "game_result", f"n{n}", T0 + n, T0 + n, {"outcome": "win"})
        (decision,) = decider.decide(Decide("demo", [event], deadline=T0)).decisions
    assert len(decision.messages) == 1
    assert town.book.get()["demo"].plan.ruleset.version == 2


def test_a_message_twice_in_a_batch_is_one_popup(town: Town) -> None:
    """The completing event twice in one request: one activation, one popup in the answer."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    third = Event("anna", "game_result", "third", T0 + 2, T0 + 2, {"outcome": "win"})
    first, again = town.decider.decide(Decide("demo", [third, third], deadline=T0)).decisions
    assert (len(first.messages), again.messages) == (1, [])
    assert len(town.outbox.shown) == 1


def test_a_popup_is_not_shown_an_hour_later(town: Town) -> None:
    """The completing event repeated after ten seconds finds nobody who could still be shown it."""
    for n in range(2):
        town.win("anna", f"m{n}", at=T0 + n)
    assert len(town.win("anna", "third", at=T0 + 2)) == 1
    assert len(town.win("anna", "third", at=T0 + 2, received=T0 + 10_002)) == 1
    assert town.win("anna", "third", at=T0 + 2, received=T0 + 10_003) == []


def test_a_ruleset_that_cannot_be_read_leaves_the_other_sites_alone(town: Town) -> None:
    """Site b points at a ruleset that is not there, c at a broken one: a's events go on, and it is told."""
    town.database.control.insert_one({"_id": "b", "ruleset": 7, "generation": 0})
    town.database.rulesets.insert_one({"_id": "c:1", "ruleset": {"site": "c"}})
    town.database.control.insert_one({"_id": "c", "ruleset": 1, "generation": 0})
    told: list[str] = []
    loaded = rulesets.load(MongoLibrary(town.database), None, lambda error: told.append(error.code))
    assert set(loaded) == {"demo"}
    assert sorted(told) == ["ruleset_missing", "ruleset_unreadable"]
    assert loaded.get("nobody") is None
    with pytest.raises(Unreadable):
        loaded.get("c")
    again = rulesets.load(MongoLibrary(town.database), loaded, print)
    assert again["demo"] is not None
    assert (set(rulesets.catalogue(again).sites), set(rulesets.catalogue(again).unread)) == ({"demo"}, {"b", "c"})
