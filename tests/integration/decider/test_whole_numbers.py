"""Numbers over 31 bits, which the MongoDB driver returns as a class of its own, may occur in all stored data."""

from pathlib import Path
from typing import Any

from pymongo.database import Database
from redis import Redis

from definitions.publishing.publish import roll_back
from refresher import wiring
from shared.contracts import write_key
from shared.mongodb import database as connect
from shared.settings import REFRESHER, Settings
from tests.support.builders import THREE_WINS, compiled
from tests.support.decider_harness import T0, DeciderHarness
from tests.support.definitions import load_definitions, publish
from tests.support.sites import one, targets

Db = Database[dict[str, Any]]
BIG = 90 * 86_400_000
KEY = write_key("wk_public")


def test_every_client_reads_them_as_any_other_number(mongodb_url: str, mongodb: Db) -> None:
    """The client of functions and command line, and the Refresher's own."""
    mongodb.t.insert_one({"_id": 1, "deep": {"numbers": [BIG, 1]}})
    settings = Settings(REFRESHER, mongodb_url=mongodb_url, mongodb_database=mongodb.name)
    for database in (connect(mongodb_url, mongodb.name), wiring.build(settings).database):
        row = database.t.find_one()
        assert row is not None
        assert [type(number) for number in row["deep"]["numbers"]] == [int, int]
        database.client.close()


def test_a_window_of_ninety_days_is_decided(redis_client: Redis, mongodb: Db) -> None:
    """Its length in ms is such a number, and travels from MongoDB to Redis."""
    town = DeciderHarness(redis_client, mongodb, [compiled(THREE_WINS | {"within": "90d"})])
    assert [len(town.win("anna", str(n), at=T0 + n * 20 * 86_400_000)) for n in range(3)] == [0, 0, 1]


def test_a_rule_with_a_big_number_is_published_refreshed_and_rolled_back(mongodb: Db, tmp_path: Path) -> None:
    """Publishing the same definitions twice changes nothing either."""
    for edition, limit in (("first", 3_000_000_000), ("second", 4_000_000_000)):
        for name, text in {
            "site.yaml": "id: demo\nname: D\nkeys: [{kind: public, key: wk_public}]\n",
            "groups/rich.yaml": f"id: rich\nrule: {{wealth: {{gte: {limit}}}}}\n",
            "campaigns/c.yaml": "id: c\nname: C\ntargets: [rich]\ntrigger: {sequence: [{event: a}]}\n"
            "channel: popup\ncontent: {title: Hello}\n",
        }.items():
            file = tmp_path / edition / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    first, second = (load_definitions(tmp_path / edition) for edition in ("first", "second"))
    mongodb.customers.insert_one(
        {"_id": "demo:ada", "site": "demo", "user": "ada", "attributes": {"wealth": 3_500_000_000}}
    )
    assert publish(mongodb, first, [KEY]).changed
    assert not publish(mongodb, first, [KEY]).changed
    one(mongodb)
    assert targets(mongodb) == {"ada": ["rich"]}
    assert publish(mongodb, second, [KEY]).version == 2
    one(mongodb)
    assert targets(mongodb) == {}
    assert roll_back(mongodb, "demo").version == 3
    one(mongodb)
    assert targets(mongodb) == {"ada": ["rich"]}
