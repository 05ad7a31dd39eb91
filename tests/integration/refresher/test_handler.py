"""The Refresher's handler with a real MongoDB: one site or all, and continuing when time runs out."""

from dataclasses import dataclass
from typing import Any

import pytest

from refresher.handler import MIN_TIME_LEFT_MS, RefreshFailed, create_handler
from refresher.ports import Deps
from shared.errors import InvalidRequest
from shared.observability import observe
from tests.support.sites import NOW, Db, control, crowd, customers, publish, rule, targets

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:refresher:live"


@dataclass
class Context:
    """Lambda's context. ``parts``: for how many more parts there is time."""

    parts: int = 10**9
    function_name: str = "refresher"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = ARN
    aws_request_id: str = "r1"

    def get_remaining_time_in_millis(self) -> int:
        """Return enough time until ``parts`` is used up."""
        self.parts -= 1
        return MIN_TIME_LEFT_MS + 1 if self.parts >= 0 else MIN_TIME_LEFT_MS


class Refresher:
    """The handler and the invocations that it starts."""

    def __init__(self, database: Db) -> None:
        self.handed: list[tuple[str, dict[str, Any]]] = []
        self._handler = create_handler(
            Deps(database, lambda: NOW, lambda *call: self.handed.append(call), observe("refresher"), part_size=10)
        )

    def call(self, event: dict[str, Any], *, parts: int = 10**9) -> Any:
        """Invoke the handler. *parts*: how many parts it has time for, after the first."""
        return self._handler(event, Context(parts))


@pytest.fixture(name="refresher")
def _refresher(mongodb: Db) -> Refresher:
    return Refresher(mongodb)


def test_one_site_or_all(mongodb: Db, refresher: Refresher) -> None:
    """With a site, only that one; without, as on the daily schedule, every published site."""
    customers(mongodb, ada={"tier": "vip"})
    customers(mongodb, "other", bob={"tier": "vip"})
    publish(mongodb, rule("vips", tier="vip"))
    publish(mongodb, rule("vips", tier="vip"), site="other")
    assert refresher.call({"site": "demo"}) == {
        "sites": {"demo": [{"generation": 1, "users": 1, "found": ("vips",), "kept": ()}]}
    }
    answer = refresher.call({"detail-type": "Scheduled Event"})
    assert {site: made[0]["generation"] for site, made in answer["sites"].items()} == {"demo": 2, "other": 1}
    assert refresher.call({"site": "demo", "requested": ["changed"]}) == {"sites": {"demo": []}}
    with pytest.raises(InvalidRequest):
        refresher.call({"site": "nobody"})
    assert refresher.handed == []


def test_one_broken_site_does_not_stop_the_others(mongodb: Db, refresher: Refresher) -> None:
    """The others are refreshed, and the invocation still fails, so an alarm is raised."""
    customers(mongodb, "other", bob={"tier": "vip"})
    publish(mongodb, rule("vips", tier={"nosuch": 1}))
    publish(mongodb, rule("vips", tier="vip"), site="other")
    with pytest.raises(RefreshFailed, match="demo"):
        refresher.call({})
    assert targets(mongodb, site="other") == {"bob": ["vips"]}


def test_what_there_is_no_time_for_is_handed_over(mongodb: Db, refresher: Refresher) -> None:
    """Each invocation writes some parts and invokes itself again. Readers see the old generation until the end."""
    crowd(mongodb, 100)
    crowd(mongodb, 30, site="other")
    for site in ("demo", "other"):
        publish(mongodb, rule("vips", tier="vip"), site=site)
    event: dict[str, Any] = {}
    invocations = 0
    while event is not None:
        assert control(mongodb, "demo")["generation"] == 0 or invocations > 2
        assert control(mongodb, "other")["generation"] == 0
        refresher.call(event, parts=2)
        invocations += 1
        event = refresher.handed.pop()[1] if refresher.handed else None  # type: ignore[assignment]
    assert len(targets(mongodb, site="demo")) == 50
    assert len(targets(mongodb, site="other")) == 15
    assert invocations == 5
    assert (control(mongodb, "demo")["generation"], control(mongodb, "other")["generation"]) == (4, 2)
    assert not {"requested", "refresh"} & control(mongodb, "demo").keys()


def test_what_nobody_went_on_with_is_the_next_schedules(mongodb: Db, refresher: Refresher) -> None:
    """If an invocation is lost, the next scheduled one finishes the work."""
    crowd(mongodb, 100)
    publish(mongodb, rule("vips", tier="vip"))
    refresher.call({}, parts=2)
    assert refresher.handed.pop() == (ARN, {"sites": ["demo"], "requested": []})
    made = refresher.call({})["sites"]["demo"]
    assert [(each["generation"], each["users"]) for each in made] == [(2, 50), (3, 50)]
