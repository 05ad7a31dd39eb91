"""From a customer's attributes to a popup: how a refresh affects users with progress."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import user_admin
from decider.user_admin import UserSnapshot
from refresher.plan import ALL, CHANGED, ROLLBACK
from shared.contracts import InspectUser
from shared.errors import Unavailable
from shared.ruleset import Compound, Ruleset, TargetGroup
from tests.integration.decider.test_decider import commands_of
from tests.support.builders import THREE_WINS, compiled
from tests.support.decider_harness import T0, DeciderHarness
from tests.support.sites import collections, customers, listed, one, retire, rule, run

MINUTE = 60_000


class Casino(DeciderHarness):
    """A Decider with targets from real refreshes; the campaign is for the group of the same name."""

    def define(self, *groups: TargetGroup) -> None:
        """Set the groups of the live version."""
        self.database.rulesets.update_one(
            {"_id": f"demo:{self.version}"}, {"$set": {"groups": msgspec.to_builtins(list(groups))}}
        )

    def publish_over(self, campaigns: Sequence[Any]) -> None:
        """Publish a new version beside the present targets and groups."""
        self.version += 1
        before = self.database.rulesets.find_one({"_id": f"demo:{self.version - 1}"}) or {}
        ruleset = Ruleset(site="demo", version=self.version, keys=[], campaigns=list(campaigns))
        row = {**before, "_id": f"demo:{self.version}", "ruleset": msgspec.to_builtins(ruleset)}
        self.database.rulesets.insert_one(row)
        self.database.control.update_one({"_id": "demo"}, {"$set": {"ruleset": self.version}})

    def refresh(self) -> int:
        """Refresh the targets, reload the Decider, and return the generation."""
        generation = one(self.database).generation
        self.rulesets.reload()
        return generation

    def look(self, user: str = "anna") -> UserSnapshot:
        """Return the Decider's snapshot of a user."""
        return msgspec.convert(user_admin.inspect(InspectUser("demo", user), self.deps), UserSnapshot)


@pytest.fixture(name="casino")
def _casino(redis_client: Redis, mongodb: Database[dict[str, Any]]) -> Casino:
    casino = Casino(redis_client, mongodb, [compiled(THREE_WINS, everyone=False, name="vips")])
    casino.define(rule("vips", tier="vip"))
    customers(mongodb, anna={"tier": "vip"}, bob={"tier": "free"})
    casino.refresh()
    return casino


def test_who_falls_out_in_the_middle_is_dropped_with_the_reason(casino: Casino) -> None:
    """After two of three wins a user leaves the VIPs: the next event drops and reports the progress."""
    casino.win("anna", "1", at=T0)
    casino.win("anna", "2", at=T0 + 1)
    customers(casino.database, anna={"tier": "free"})
    generation = casino.refresh()
    mongo = casino.mongo_calls()
    assert casino.win("anna", "3", at=T0 + 2) == []
    assert casino.mongo_calls() - mongo == 1, "one look at the new generation"
    row = casino.look().row
    assert row is not None
    assert [(each.at, each.generation) for each in row.lost] == [(T0 + 2, generation)]
    assert row.runs == []
    dropped = [name for name in _counted(casino) if name[2:] == ["vips", "target"]]
    assert len(dropped) == 1

    customers(casino.database, anna={"tier": "vip"})
    casino.refresh()
    popups = [casino.win("anna", f"again {n}", at=T0 + 10 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]
    row = casino.look().row
    assert row is not None
    assert row.lost == []


def test_what_is_lost_is_told_until_the_user_is_a_target_again(casino: Casino) -> None:
    """Generations without a change for the user do not hide the reason for the lost progress."""
    casino.win("anna", "1", at=T0)
    customers(casino.database, anna={"tier": "free"})
    lost_with = casino.refresh()
    casino.win("anna", "2", at=T0 + 1)
    casino.refresh()
    casino.win("anna", "3", at=T0 + 2)
    row = casino.look().row
    assert row is not None
    assert [(each.at, each.generation) for each in row.lost] == [(T0 + 1, lost_with)]


def test_progress_stays_while_the_user_stays_a_target(casino: Casino) -> None:
    """A refresh between the second win and the third drops nothing, and costs one more command and read."""
    casino.win("anna", "1", at=T0)
    casino.win("anna", "2", at=T0 + 1)
    casino.refresh()
    mongo, popups = casino.mongo_calls(), []
    assert (
        commands_of(casino, lambda: popups.extend(casino.win("anna", "3", at=T0 + 2))) == 2 + 1
    )  # the last one is the acknowledgement
    assert casino.mongo_calls() - mongo == 1
    assert len(popups) == 1


def test_who_comes_in_starts_fresh(casino: Casino) -> None:
    """Events from before the user was a target do not count."""
    for n in range(2):
        casino.win("bob", f"before {n}", at=T0 + n)
    customers(casino.database, bob={"tier": "vip"})
    casino.refresh()
    popups = [casino.win("bob", f"after {n}", at=T0 + 10 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]


def test_a_campaign_for_another_group_needs_no_refresh(casino: Casino) -> None:
    """The campaign is published for all but VIPs. The next event of each user finds that in the last refresh."""
    campaign = compiled(THREE_WINS, everyone=False, name="vips")
    generation = one(casino.database).generation
    but = Compound(own=True, none_of=["vips"])
    everybody = TargetGroup("others", rule={}, made=but)
    casino.database.rulesets.update_one({"_id": "demo:1"}, {"$push": {"groups": msgspec.to_builtins(everybody)}})
    generation = one(casino.database).generation
    changed = msgspec.structs.replace(campaign, groups=["others"], compounds={"others": but})
    casino.publish([changed], generation=generation)
    casino.rulesets.reload()
    popups = {user: [casino.win(user, f"{user} {n}", at=T0 + n) for n in range(3)] for user in ("anna", "bob")}
    assert [len(popups["anna"][-1]), len(popups["bob"][-1])] == [0, 1]


def test_a_decider_with_an_old_pointer_finds_the_targets_of_then(casino: Casino) -> None:
    """Two refreshes in quick succession do not turn customers into strangers: nothing is dropped under a reader."""
    for _ in range(2):
        one(casino.database)
    popups = [casino.win("anna", f"{n}", at=T0 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]


def test_a_decider_whose_generation_was_dropped_looks_up_the_current_one(casino: Casino) -> None:
    """An hour asleep: the generation is gone. Its absence says nothing about a user."""
    for _ in range(3):
        one(casino.database)
        retire(casino.database, minutes=60)
    assert "targets_demo_2" not in collections(casino.database), "the generation that the Decider knows"
    assert casino.look().targets == ["vips"]
    popups = [casino.win("anna", f"{n}", at=T0 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]


def test_without_any_generation_an_event_is_refused_and_counts_later(casino: Casino) -> None:
    """The pointer names a collection that is missing. The request fails, and its repetition counts once."""
    casino.database.drop_collection("targets_demo_2")
    with pytest.raises(Unavailable):
        casino.win("anna", "0", at=T0)
    one(casino.database)
    popups = [casino.win("anna", f"{n}", at=T0 + n) for n in range(3)]
    assert [len(popup) for popup in popups] == [0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_no_event_is_lost_in_a_storm_of_refreshes(casino: Casino, seed: int) -> None:
    """Publishing, rolling back, uploading and refreshing in any order, time passing, a Decider that is always late."""
    rng = random.Random(seed)
    campaign = compiled(THREE_WINS, everyone=False, name="vips")
    shown = 0
    for step in range(40):
        change = rng.choice(["refresh", "rollback", "publish", "upload", "time", "reload"])
        if change in ("refresh", "rollback"):
            run(casino.database, ALL if change == "refresh" else ROLLBACK)
        elif change == "publish":
            casino.publish_over([campaign])
            run(casino.database, CHANGED)
        elif change == "upload":
            casino.define(rule("vips", tier="vip"), listed(casino.database, "few", f"u{step}"))
            run(casino.database, CHANGED)
        elif change == "time":
            retire(casino.database, minutes=rng.choice([1, 9, 60]))
        else:
            casino.rulesets.reload()
        shown += len(casino.win("anna", f"{step}", at=T0 + step))
    assert shown == 40 // 3, "every third win in a row shows a popup"


def _counted(casino: Casino) -> list[Any]:
    names: list[Any] = []
    for key in casino.redis.keys("*:n"):
        names += [msgspec.json.decode(name) for name in casino.redis.hkeys(key) if name != b"state_epoch"]
    return names
