"""Alarms on the state store. Those on nodes are queries, which no linter checks."""

import re
from typing import Any

import pytest

from tests.support.stacks import Stack, required
from tests.template.conftest import Template

SERVERLESS = {"EvictionsAlarm", "StateStoreThrottledAlarm", "StateStoreRefusesAlarm"}
NODES = {
    *("NodesEvictAlarm", "NodesFullAlarm", "NodesBusyAlarm", "NodesThrottledAlarm", "NodesRefuseAlarm"),
    *("ReplicaLostAlarm", "NodesSilentAlarm"),
}
# The vended metrics that ElastiCache sends for each node every minute, with their labels.
METRICS: dict[str, set[str]] = {
    "process.cpu.time": {"cpu.mode", "thread.type"},
    "valkey.acl.denied": {"valkey.acl.denied.reason"},
    "valkey.keys.evicted": set(),
    "valkey.memory.max": set(),
    "valkey.memory.not_counted_for_evict": set(),
    "valkey.memory.used": set(),
    "valkey.replication.link_healthy": set(),
    "valkey.throttling.active": set(),
}
COUNTERS = {"process.cpu.time", "valkey.acl.denied", "valkey.keys.evicted"}
GROUP = "@resource.aws.elasticache.replication_group.id"
SELECTOR = re.compile(r'\{"([a-z._]+)"((?:, ?"[^"]+"="[^"]+")*)\}(\[5m\])?')
# CloudWatch refuses an alarm with a query and any other criteria.
WITH_A_QUERY = {"AlarmActions", "AlarmDescription", "EvaluationCriteria", "EvaluationInterval"}


@pytest.fixture(name="nodes", scope="module")
def _nodes(template: Template) -> Stack:
    return Stack(template, {**required(template), "StateStoreMode": "node-durable"})


def alarms(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the computed alarms of *stack*."""
    found = {name: each for name, each in stack.resources.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    return {name: stack.value(each["Properties"]) for name, each in found.items()}


def queries(stack: Stack) -> dict[str, str]:
    """Return the queries of the alarms on queries."""
    found = {name: alarm.get("EvaluationCriteria") for name, alarm in alarms(stack).items()}
    return {name: criteria["PromQLCriteria"]["Query"] for name, criteria in found.items() if criteria}


@pytest.mark.parametrize(
    ("mode", "own", "others"),
    [
        ("serverless-vpc", SERVERLESS, NODES),
        ("serverless-public", SERVERLESS, NODES),
        ("node-durable", NODES, SERVERLESS),
    ],
)
def test_each_kind_of_state_store_has_its_alarms(
    template: Template, mode: str, own: set[str], others: set[str]
) -> None:
    """Every store has alarms on evictions, throttling and refusals; nodes also have alarms on memory and replicas."""
    made = alarms(Stack(template, {**required(template), "StateStoreMode": mode})).keys()
    assert own <= made
    assert not others & made


def test_queries_use_vended_metrics_of_this_group_only(nodes: Stack) -> None:
    """A query with a wrong metric never matches; one without the group matches other stores."""
    found = queries(nodes)
    assert found.keys() == NODES
    for name, query in found.items():
        selectors = SELECTOR.findall(query)
        assert len(selectors) == query.count("{") == query.count("}") > 0, name
        for metric, labels, window in selectors:
            matched = dict(re.findall(r'"([^"]+)"="([^"]+)"', labels))
            assert matched.pop(GROUP) == "<StateStoreNodes:opportune-1a2b3c4d>", name
            assert matched.keys() <= METRICS[metric] | {"valkey.role"}, name
            assert bool(window) == (metric in COUNTERS), f"{name}: only a counter needs a rate"
        assert set(re.findall(r'\("([a-z.]+)"\)', query)) <= set().union(*(METRICS[s[0]] for s in selectors)), name


def test_queries_match_only_if_something_is_wrong(nodes: Stack) -> None:
    """The threshold is part of the query: every match raises the alarm."""
    for name, query in queries(nodes).items():
        assert re.search(r"(> 0|> 80|== [01])$|^absent\(.*\)$", query), name


def test_an_alarm_on_a_query_has_no_other_criteria(nodes: Stack) -> None:
    """It is evaluated as often as metrics arrive; apart from evictions and refusals, seconds raise no alarm."""
    waits = {}
    for name, alarm in alarms(nodes).items():
        if name in NODES:
            assert alarm.keys() == WITH_A_QUERY, name
            assert alarm["EvaluationInterval"] == 60
            waits[name] = alarm["EvaluationCriteria"]["PromQLCriteria"]["PendingPeriod"]
    assert {name for name, wait in waits.items() if not wait} == {"NodesEvictAlarm", "NodesRefuseAlarm"}


def test_missing_metrics_raise_an_alarm(nodes: Stack) -> None:
    """Without metrics no other query matches, so there is an alarm for that."""
    found = queries(nodes)
    ((silent, *_),) = SELECTOR.findall(found["NodesSilentAlarm"])
    assert silent in [metric for metric, *_ in SELECTOR.findall(found["NodesFullAlarm"])]
