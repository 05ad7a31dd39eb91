"""A new version reaches the functions within ten seconds, and no request waits for it."""

import random
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo.database import Database

from decider import rulesets
from decider.handler import HANDLERS, MAX_CATALOGUE_AGE_MS
from decider.wiring import MongoRulesets
from gateway.decider_client import fetch_catalogue
from shared.contracts import Catalogue, GetCatalogue, write_key
from shared.refreshing_cache import THREAD, RefreshingCache
from shared.ruleset import Ruleset
from tests.integration.definitions.test_versions import folder
from tests.support.definitions import load_definitions, publish

Db = Database[dict[str, Any]]
POLL_S, TICK_MS, BOUND_MS = 10, 100, 10_000
KEY = write_key("wk_public")


class Time:
    """A clock that the test sets."""

    now = 0

    def __call__(self) -> int:
        """Return ms."""
        return self.now


class Watched(MongoRulesets):
    """The rulesets in MongoDB; notes the threads that read them."""

    def __init__(self, database: Db) -> None:
        super().__init__(database)
        self.threads: list[threading.Thread] = []

    def pointers(self) -> dict[str, Any]:
        """Return the pointers; note the thread."""
        self.threads.append(threading.current_thread())
        return super().pointers()

    def ruleset(self, site: str, version: int) -> Ruleset:
        """Return a ruleset; note the thread."""
        self.threads.append(threading.current_thread())
        ruleset: Ruleset = super().ruleset(site, version)
        return ruleset


class Functions:
    """An environment of the Decider and one of the Gateway under steady traffic."""

    def __init__(self, database: Db) -> None:
        self.clock, self.library, self.asked = Time(), Watched(database), list[threading.Thread]()
        self.rulesets: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
            lambda present: rulesets.load(self.library, present, print),
            every_s=POLL_S,
            clock=self.clock,
            on_error=print,
        )
        self.catalogue: RefreshingCache[Catalogue] = RefreshingCache(
            lambda _: self._ask(), every_s=POLL_S, clock=self.clock, on_error=print
        )

    def _ask(self) -> Catalogue:
        self.asked.append(threading.current_thread())
        deps: Any = self  # the handler of the catalogue needs nothing but the rulesets

        def invoke(payload: bytes) -> bytes:
            return msgspec.json.encode(HANDLERS[GetCatalogue](msgspec.json.decode(payload), None, deps))

        return fetch_catalogue(invoke)

    def request(self) -> tuple[int, set[str]]:
        """Handle one request; return the version that decides, and the events that the Gateway passes on."""
        known = self.catalogue.get().sites["shop"].events
        version = self.rulesets.get()["shop"].index.ruleset.version
        return version, set(known)

    def settle(self) -> None:
        """Wait for the background refresh: by the test's clock it takes no time."""
        deadline = time.monotonic() + 10
        while any(each.name == THREAD for each in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.0005)


def edition(path: Path, name: str) -> Path:
    """Return definitions with one event, named like the edition."""
    made = folder(path, name)
    file = made / "campaigns" / "c.yaml"
    file.write_text(file.read_text().replace("event: a", f"event: {name}"))
    return made


@pytest.mark.parametrize("seed", range(6))
def test_a_publish_shows_within_ten_seconds_and_no_request_waits(mongodb: Db, tmp_path: Path, seed: int) -> None:
    """A publish at any time reaches Gateway and Decider. Only the first request of all reads in the foreground."""
    rng = random.Random(seed)
    publish(mongodb, load_definitions(edition(tmp_path, "old")), [KEY])
    functions = Functions(mongodb)
    # The Decider's rulesets are of another age than the Gateway's catalogue.
    functions.rulesets.get()
    functions.clock.now = rng.randrange(0, 8_000)
    assert functions.request() == (1, {"old"})
    first, looks = len(functions.library.threads), len(functions.asked)
    publish_at = functions.clock.now + rng.randrange(0, 15_000)
    published = None
    shown: dict[str, int] = {}
    while len(shown) < 2:
        functions.clock.now += TICK_MS
        if published is None and functions.clock.now >= publish_at:
            publish(mongodb, load_definitions(edition(tmp_path, "new")), [KEY])
            published = functions.clock.now
        version, events = functions.request()
        functions.settle()
        if version == 2:
            shown.setdefault("decider", functions.clock.now)
        if events == {"new"}:
            shown.setdefault("gateway", functions.clock.now)
        assert published is None or functions.clock.now - published <= BOUND_MS, shown
    here = threading.current_thread()
    assert here not in functions.library.threads[first:]
    assert here not in functions.asked[looks:]


def test_a_catalogue_that_is_asked_for_costs_one_small_read_a_second(mongodb: Db, tmp_path: Path) -> None:
    """For any number of Gateways. A ruleset is read once per version."""
    publish(mongodb, load_definitions(edition(tmp_path, "old")), [KEY])
    functions = Functions(mongodb)
    deps: Any = functions
    for _ in range(100):
        functions.clock.now += MAX_CATALOGUE_AGE_MS // 10
        HANDLERS[GetCatalogue](GetCatalogue(), None, deps)
    assert len(functions.library.threads) == 10 + 1  # the pointers ten times, the ruleset once
