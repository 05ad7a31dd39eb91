"""A Decider on real servers, with a published site and an outbox in place of the Engager and the schedules."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pymongo
from pymongo.database import Database
from redis import Redis

from decider import rulesets
from decider.ingest import ingest
from decider.ports import Deps
from decider.records import MongoRecords
from decider.stats import Stats
from decider.user_state import UserStateStore
from decider.wiring import MongoRulesets
from shared.contracts import Activation, Conversion, Decide, Decided, Doorbell, Event
from shared.errors import Unavailable
from shared.observability import observe
from shared.refreshing_cache import RefreshingCache
from shared.ruleset import Ruleset
from shared.targets import MongoTargets, create_generation
from tests.support.builders import log_warning

T0 = 1_790_000_000_000
MONGODB_OPERATIONS = ("query", "getmore", "insert", "update", "delete")

LiveRulesets = RefreshingCache[rulesets.Rulesets]


class Outbox:
    """`Deliveries` and `Doorbells` that keep what they get.

    ``broken``: the Engager fails. ``mute``: no doorbell can be scheduled.
    ``again``: doorbells that ring again, and when.
    """

    def __init__(self) -> None:
        self.shown: list[Activation] = []
        self.recorded: list[Activation] = []
        self.queued: list[Activation] = []
        self.converted: list[Conversion] = []
        self.doorbells: list[Doorbell] = []
        self.again: list[tuple[Doorbell, int]] = []
        self.cancelled: list[str] = []
        self.broken = self.mute = False

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

    def enqueue(self, activations: Sequence[Activation]) -> None:
        """Keep the activations."""
        self.queued += activations

    def schedule_doorbell(self, doorbell: Doorbell, at: int, now: int) -> None:  # noqa: ARG002 - it always takes it
        """Keep the doorbell, or the time of one that rings again."""
        if self.mute:
            raise Unavailable("mute", code="doorbell_unavailable")
        if doorbell.rings:
            self.again.append((doorbell, at))
        else:
            self.doorbells.append(doorbell)

    def cancel_doorbell(self, key: str) -> None:
        """Keep the key."""
        self.cancelled.append(key)


def live_rulesets(database: Database[dict[str, Any]], *, every_s: int = 3600) -> LiveRulesets:
    """Return the live rulesets; they are read once, and again only when a test reloads them."""
    store = MongoRulesets(database)
    return RefreshingCache(
        lambda current: rulesets.load(store, current, print), every_s=every_s, clock=lambda: 0, on_error=print
    )


def decider_deps(
    live: LiveRulesets,
    redis: Any,
    database: Database[dict[str, Any]],
    outbox: Outbox,
    *,
    clock: Callable[[], int] = lambda: T0,
    **changes: Any,
) -> Deps:
    """Return the dependencies of a Decider on *redis* and *database*, with *changes*."""
    states = UserStateStore(lambda: redis)
    return Deps(
        **{
            "rulesets": live,
            "states": states,
            "targets": MongoTargets(database),
            "deliveries": outbox,
            "doorbells": outbox,
            "records": MongoRecords(database),
            "stats": Stats(states, database, clock, log_warning),
            "clock": clock,
            "observability": observe("decider"),
            "log_warning": log_warning,
            "invoke_async": lambda *_: None,
            "db_deadline": pymongo.timeout,
            **changes,
        }
    )


class DeciderHarness:
    """A Decider with a published site."""

    def __init__(self, redis: Redis, database: Database[dict[str, Any]], campaigns: Sequence[Any]) -> None:
        self.redis, self.database = redis, database
        self.version = 0
        self.publish(campaigns, generation=1)
        self.outbox = Outbox()
        self.rulesets = live_rulesets(database)
        self.deps = decider_deps(self.rulesets, redis, database, self.outbox)

    def publish(self, campaigns: Sequence[Any], *, generation: int) -> None:
        """Make *campaigns* the current ruleset, and *generation* the current targets."""
        self._create(generation)
        self.version += 1
        ruleset = Ruleset(site="demo", version=self.version, keys=[], campaigns=list(campaigns))
        row = {"_id": f"demo:{self.version}", "ruleset": msgspec.to_builtins(ruleset)}
        self.database.rulesets.insert_one(row)
        pointer = {"_id": "demo", "ruleset": self.version, "generation": generation}
        self.database.control.replace_one({"_id": "demo"}, pointer, upsert=True)

    def publish_targets(self, generation: int) -> None:
        """Make *generation* the current targets."""
        self._create(generation)
        self.database.control.update_one({"_id": "demo"}, {"$set": {"generation": generation}})

    def target(self, generation: int, **users: list[str]) -> None:
        """Write a generation of targets."""
        self._create(generation)
        self.database[f"targets_demo_{generation}"].insert_many(
            [{"_id": user, "groups": groups} for user, groups in users.items()]
        )

    def _create(self, generation: int) -> None:
        if f"targets_demo_{generation}" not in self.database.list_collection_names():
            create_generation(self.database, f"targets_demo_{generation}")

    def ingest(self, request: Decide) -> Decided:
        """Ingest *request*."""
        return ingest(request, self.deps)

    def win(self, user: str, message_id: str, *, at: int = T0, **fields: Any) -> list[dict[str, Any]]:
        """Decide one win; return the popups."""
        fields = {"received": at, "attributes": {"outcome": "win"}, **fields}
        event = Event(user=user, event="game_result", message_id=message_id, at=at, **fields)
        (decision,) = self.ingest(Decide("demo", [event], deadline=at + 2000)).decisions
        return decision.messages

    def redis_requests(self) -> tuple[int, int]:
        """Return how many scripts were called, and how many requests were read, as the server counts them."""
        scripts = self.redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)
        return scripts, self.redis.info("stats")["total_reads_processed"]

    def mongo_calls(self) -> int:
        """Return how many finds and writes the database server has served."""
        counters = self.database.client.admin.command("serverStatus")["opcounters"]
        return sum(counters[name] for name in MONGODB_OPERATIONS)
