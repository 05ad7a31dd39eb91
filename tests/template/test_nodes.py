"""Alarms on the state store, of whichever kind it is: of nodes they are queries, which no linter reads."""

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
# What ElastiCache tells of each node once a minute without being asked to ("vended"), and its own labels.
FIGURES: dict[str, set[str]] = {
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
# CloudWatch refuses an alarm that has both a query and any other way to evaluate.
WITH_A_QUERY = {"AlarmActions", "AlarmDescription", "EvaluationCriteria", "EvaluationInterval"}


@pytest.fixture(name="nodes", scope="module")
def _nodes(template: Template) -> Stack:
    return Stack(template, {**required(template), "StateStoreMode": "node-durable"})


def alarms(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the alarms of *stack*, computed."""
    found = {name: each for name, each in stack.resources.items() if each["Type"] == "AWS::CloudWatch::Alarm"}
    return {name: stack.value(each["Properties"]) for name, each in found.items()}


def queries(stack: Stack) -> dict[str, str]:
    """Return the queries of the alarms that have one."""
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
    """Dropped rows, too much to do and refused users are told of any store; of nodes also memory and replicas."""
    made = alarms(Stack(template, {**required(template), "StateStoreMode": mode})).keys()
    assert own <= made
    assert not others & made


def test_queries_ask_for_figures_that_come_by_themselves_of_this_group_alone(nodes: Stack) -> None:
    """A name that is wrong finds nothing, for ever; one without the group finds what is wrong elsewhere."""
    asked = queries(nodes)
    assert asked.keys() == NODES
    for name, query in asked.items():
        selectors = SELECTOR.findall(query)
        assert len(selectors) == query.count("{") == query.count("}") > 0, name
        for figure, labels, window in selectors:
            matched = dict(re.findall(r'"([^"]+)"="([^"]+)"', labels))
            assert matched.pop(GROUP) == "<StateStoreNodes:opportune-1a2b3c4d>", name
            assert matched.keys() <= FIGURES[figure] | {"valkey.role"}, name
            assert bool(window) == (figure in COUNTERS), f"{name}: a counter is asked for its rate, a gauge is not"
        assert set(re.findall(r'\("([a-z.]+)"\)', query)) <= set().union(*(FIGURES[s[0]] for s in selectors)), name


def test_queries_find_nothing_where_nothing_is_wrong(nodes: Stack) -> None:
    """The threshold is part of the query: whatever it finds raises the alarm."""
    for name, query in queries(nodes).items():
        assert re.search(r"(> 0|> 80|== [01])$|^absent\(.*\)$", query), name


def test_an_alarm_on_a_query_has_nothing_else_to_go_by(nodes: Stack) -> None:
    """No threshold, no periods; it is evaluated as often as figures come, and a disturbance of seconds tells nobody."""
    waits = {}
    for name, alarm in alarms(nodes).items():
        if name in NODES:
            assert alarm.keys() == WITH_A_QUERY, name
            assert alarm["EvaluationInterval"] == 60
            waits[name] = alarm["EvaluationCriteria"]["PromQLCriteria"]["PendingPeriod"]
    assert {name for name, wait in waits.items() if not wait} == {"NodesEvictAlarm", "NodesRefuseAlarm"}


def test_silence_is_told_for_the_figures_that_the_others_ask_for(nodes: Stack) -> None:
    """Without figures no query finds anything: that is an alarm of its own."""
    asked = queries(nodes)
    ((silent, *_),) = SELECTOR.findall(asked["NodesSilentAlarm"])
    assert silent in [figure for figure, *_ in SELECTOR.findall(asked["NodesFullAlarm"])]
