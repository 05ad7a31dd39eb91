"""Refreshing targets in a real MongoDB: groups to generations, the switch, and races for it."""

import threading
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from pymongo.monitoring import CommandListener, CommandStartedEvent

from console import lists
from refresher.handler import Deps, RefreshFailed, create_handler
from refresher.refresh import RefreshConflict, refresh
from shared.errors import InvalidDefinition, InvalidRequest, OpportuneError
from shared.observability import observe
from shared.ruleset import Campaign, Ruleset, Trigger

NOW = 1_790_000_000_000  # 2026-09-21
Db = Database[dict[str, Any]]


def publish(database: Db, *campaigns: tuple[str, list[str] | None], site: str = "demo", version: int = 1) -> None:
    """Publish campaigns, each with the names of its groups; ``None`` is everyone."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    compiled = [
        Campaign(name, "1", name, trigger, "popup", {}, everyone=groups is None, groups=groups or [])
        for name, groups in campaigns
    ]
    ruleset = msgspec.to_builtins(Ruleset(site, version, [], compiled))
    database.rulesets.update_one(
        {"_id": f"{site}:{version}"}, {"$set": {"site": site, "ruleset": ruleset}}, upsert=True
    )
    database.control.update_one(
        {"_id": site}, {"$set": {"ruleset": version}, "$setOnInsert": {"generation": 0}}, upsert=True
    )


def group(
    database: Db, name: str, *, site: str = "demo", rule: Any = None, users: list[str] | None = None, version: int = 1
) -> None:
    """Define a target group of a version, by rule or by list."""
    row = {"id": name, "rule": rule} if users is None else {"id": name, "list": lists.write(database, site, users)}
    key = {"_id": f"{site}:{version}"}
    database.rulesets.update_one(key, {"$pull": {"groups": {"id": name}}}, upsert=True)
    database.rulesets.update_one(key, {"$push": {"groups": row}})


def customers(database: Db, *, site: str = "demo", **users: dict[str, Any]) -> None:
    """Write customers."""
    database.customers.insert_many(
        [{"_id": f"{site}:{user}", "site": site, "user": user, "attributes": a} for user, a in users.items()]
    )


def targets(database: Db, generation: int, site: str = "demo") -> dict[str, list[str]]:
    """Return users and their campaigns of one generation."""
    return {row["_id"]: sorted(row["campaigns"]) for row in database[f"targets_{site}_{generation}"].find()}


def collections(database: Db) -> list[str]:
    """Return the names of all targets collections."""
    return sorted(name for name in database.list_collection_names() if name.startswith("targets_"))


def test_rules_and_lists_become_targets(mongodb: Db) -> None:
    """Each user of a group is a target of every campaign that names it, once; everyone needs no row."""
    customers(mongodb, ada={"tier": "vip"}, bob={"tier": "free"}, cyd={"tier": "vip", "age": 20})
    customers(mongodb, site="other", eve={"tier": "vip"})
    group(mongodb, "vips", rule={"tier": "vip"})
    group(mongodb, "young", rule={"age": {"lt": 30}})
    group(mongodb, "few", users=["bob", "zoe", "bob"])
    group(mongodb, "many", users=["u1"])
    group(mongodb, "many", site="other", users=["u2"])
    publish(
        mongodb,
        ("a", ["vips"]),
        ("b", ["vips", "young"]),
        ("c", ["few"]),
        ("d", ["many", "few"]),
        ("e", None),
    )
    refreshed = refresh(mongodb, "demo", now=NOW)
    assert refreshed == (1, 5, 4, ())
    assert targets(mongodb, 1) == {
        "ada": ["a", "b"],
        "cyd": ["a", "b"],
        "bob": ["c", "d"],
        "zoe": ["c", "d"],
        "u1": ["d"],
    }
    control = mongodb.control.find_one({"_id": "demo"})
    assert control is not None
    assert (control["generation"], control["ruleset"]) == (1, 1)


def test_relative_dates_count_from_now(mongodb: Db) -> None:
    """The same rule finds other users a month later."""
    import_date = {"$toDate": NOW - 10 * 86_400_000}
    customers(mongodb, ada={})
    mongodb.customers.update_one({}, [{"$set": {"attributes.last_login": import_date}}])
    group(mongodb, "recent", rule={"last_login": {"gte": "-30d"}})
    publish(mongodb, ("a", ["recent"]))
    assert refresh(mongodb, "demo", now=NOW).users == 1
    assert refresh(mongodb, "demo", now=NOW + 30 * 86_400_000).users == 0


def test_the_generation_before_stays_and_older_ones_go(mongodb: Db) -> None:
    """A reader with the last pointer still finds its list; nothing older is left, of this site only."""
    mongodb["targets_demo_extra_1"].insert_one({"_id": "x"})
    mongodb["targets_demo2_1"].insert_one({"_id": "x"})
    publish(mongodb, ("a", ["few"]))
    for number in (1, 2, 3):
        group(mongodb, "few", users=[f"u{number}"])
        assert refresh(mongodb, "demo", now=NOW).generation == number
    assert collections(mongodb) == [
        "targets_demo2_1",
        "targets_demo_2",
        "targets_demo_3",
        "targets_demo_extra_1",
    ]
    assert targets(mongodb, 3) == {"u3": ["a"]}


def test_an_undefined_group_is_empty_and_reported(mongodb: Db) -> None:
    """One missing group does not keep the other campaigns from their targets."""
    group(mongodb, "few", users=["ada"])
    publish(mongodb, ("a", ["few"]), ("b", ["gone"]))
    refreshed = refresh(mongodb, "demo", now=NOW)
    assert (refreshed.users, refreshed.missing) == (1, ("gone",))


def test_a_broken_rule_changes_nothing(mongodb: Db) -> None:
    """The generation in use stays, and no half-filled collection is left."""
    group(mongodb, "few", users=["ada"])
    publish(mongodb, ("a", ["few"]))
    refresh(mongodb, "demo", now=NOW)
    group(mongodb, "few", rule={"tier": {"nosuch": 1}})
    with pytest.raises(InvalidDefinition):
        refresh(mongodb, "demo", now=NOW)
    assert collections(mongodb) == ["targets_demo_1"]
    assert targets(mongodb, 1) == {"ada": ["a"]}


def test_a_site_without_ruleset_is_refused(mongodb: Db) -> None:
    """Nothing was published, so there is nothing to make targets for."""
    with pytest.raises(InvalidRequest):
        refresh(mongodb, "demo", now=NOW)


def test_what_a_dead_refresh_left_is_not_mixed_in(mongodb: Db) -> None:
    """A collection of the next number, filled by a refresh that died, is emptied first."""
    mongodb["targets_demo_1"].insert_one({"_id": "ghost", "campaigns": ["a"]})
    group(mongodb, "few", users=["ada"])
    publish(mongodb, ("a", ["few"]))
    refresh(mongodb, "demo", now=NOW)
    assert targets(mongodb, 1) == {"ada": ["a"]}


def test_refreshes_at_once_leave_one_whole_generation(mongodb: Db) -> None:
    """Of many at the same time each one succeeds or says so, and the pointer leads to a complete list."""
    users = [f"u{n}" for n in range(200)]
    group(mongodb, "few", users=users)
    publish(mongodb, ("a", ["few"]))
    start = threading.Barrier(6)
    results: list[int | str] = []

    def run() -> None:
        start.wait()
        try:
            results.append(refresh(mongodb, "demo", now=NOW).generation)
        except OpportuneError as error:
            results.append(error.code)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [result for result in results if isinstance(result, int)]
    assert won
    assert set(results) - set(won) <= {RefreshConflict.code}
    control = mongodb.control.find_one({"_id": "demo"})
    assert control is not None
    assert control["generation"] in won
    assert len(targets(mongodb, control["generation"])) == len(users)


class PublishDuringMerge(CommandListener):
    """Publishes version 2 of the ruleset while the first list is being merged."""

    def __init__(self, database: Db) -> None:
        self._database = database
        self.commands: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note every command; publish once."""
        if event.command_name == "aggregate" and "aggregate" not in self.commands:
            publish(self._database, ("b", ["few"]), version=2)
        self.commands.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        """Nothing to do."""

    def failed(self, event: Any) -> None:
        """Nothing to do."""


def test_a_publish_in_between_wins(mongodb: Db) -> None:
    """Targets of yesterday's campaigns are not switched to, and the refresh says so."""
    group(mongodb, "few", users=["ada"])
    group(mongodb, "few", users=["ada"], version=2)
    publish(mongodb, ("a", ["few"]))
    listener = PublishDuringMerge(mongodb)
    host, port = mongodb.client.address or ("", 0)
    with type(mongodb.client)(host, port, directConnection=True, event_listeners=[listener]) as client:
        with pytest.raises(RefreshConflict):
            refresh(client[mongodb.name], "demo", now=NOW)
        assert refresh(client[mongodb.name], "demo", now=NOW).users == 1
    control = mongodb.control.find_one({"_id": "demo"})
    assert control is not None
    assert targets(mongodb, control["generation"]) == {"ada": ["b"]}


@dataclass
class Context:
    """What Lambda passes besides the payload."""

    function_name: str = "refresher"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn"
    aws_request_id: str = "r1"


def handle(database: Db, event: dict[str, Any]) -> Any:
    """Call the handler."""
    return create_handler(Deps(database, lambda: NOW, observe("refresher")))(event, Context())


def test_the_handler_refreshes_one_site_or_all(mongodb: Db) -> None:
    """A named site alone; without a name, as on the daily schedule, every published one."""
    group(mongodb, "few", users=["ada"])
    group(mongodb, "few", site="other", users=["bob"])
    publish(mongodb, ("a", ["few"]))
    publish(mongodb, ("b", ["few"]), site="other")
    assert handle(mongodb, {"site": "demo"}) == {
        "sites": {"demo": {"generation": 1, "users": 1, "campaigns": 1, "missing": ()}}
    }
    answer = handle(mongodb, {"detail-type": "Scheduled Event"})
    assert {site: done["generation"] for site, done in answer["sites"].items()} == {"demo": 2, "other": 1}
    with pytest.raises(InvalidRequest):
        handle(mongodb, {"site": "nobody"})


def test_one_broken_site_does_not_stop_the_others(mongodb: Db) -> None:
    """The others are refreshed, and the invocation fails all the same, so that somebody looks."""
    group(mongodb, "few", rule={"tier": {"nosuch": 1}})
    group(mongodb, "few", site="other", users=["bob"])
    publish(mongodb, ("a", ["few"]))
    publish(mongodb, ("b", ["few"]), site="other")
    with pytest.raises(RefreshFailed, match="demo"):
        handle(mongodb, {})
    assert targets(mongodb, 1, "other") == {"bob": ["b"]}
