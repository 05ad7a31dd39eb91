"""Checks of the template that no linter makes: no cycles, complete logs, no lost events."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import msgspec
import pytest

from definitions.model.delivery import LATENESS_MS
from opportune.local.functions import FUNCTIONS
from shared.contracts import DeciderRequest, Sweep, Wake
from shared.observability import NAMESPACE
from tests.support.paths import ROOT
from tests.template.conftest import Node, Template, listed, referred, translated

# What the APIs may log of a request: nothing that identifies the customer or has the link.
LOGGED = {
    *("requestId", "requestTime", "httpMethod", "status", "responseLatency", "integrationLatency"),
    *("error", "integrationErrorMessage"),
}


def test_references_form_no_cycle(template: Template) -> None:
    """CloudFormation refuses cycles, and the linter does not find them."""
    graph = {name: set(referred(body)) & template.resources.keys() for name, body in template.resources.items()}
    assert all(name not in needed for name, needed in graph.items())
    TopologicalSorter(graph).prepare()


def test_two_stacks_can_live_in_one_account(template: Template) -> None:
    """No name is fixed, because a second stack in the Region would fail on it."""
    given = {
        name: [resource["Properties"][part] for part in parts if part in resource.get("Properties", {})]
        for name, resource in template.resources.items()
        if (parts := [path.removeprefix("/properties/") for path in template.identifiers[resource["Type"]]])
    }
    assert {name for name, parts in given.items() if parts} >= {"StateStore", "StateStoreUser", "Sender"}
    assert [name for name, parts in given.items() if parts and not any(referred(parts))] == []


def test_functions_are_those_of_the_local_stack(template: Template) -> None:
    """Handler, timeout and memory are equal in both."""
    deployed = {
        name: (function["Handler"], function["Timeout"], function["MemorySize"])
        for name, function in template.functions.items()
    }
    local = {name: (f.handler, f.timeout_s, f.memory_mb) for name, f in FUNCTIONS.items()}
    assert deployed == local


def test_every_log_group_has_a_retention(template: Template) -> None:
    """Each function logs JSON to its own group, and no group keeps logs for ever."""
    groups = template.of_type("AWS::Logs::LogGroup")
    assert all("RetentionInDays" in group for group in groups.values())
    used = []
    for function in template.functions.values():
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        used.append(function["LoggingConfig"]["LogGroup"]["Ref"])
    for stage in template.of_type("AWS::ApiGatewayV2::Stage").values():
        used += list(referred(stage["AccessLogSettings"]["DestinationArn"]))
    assert sorted(used) == sorted(groups)


def asynchronous(template: Template) -> Iterator[Node]:
    """Yield every target of a schedule or a rule: both invoke asynchronously."""
    for schedule in template.of_type("AWS::Scheduler::Schedule").values():
        yield schedule["Target"]
    for rule in template.of_type("AWS::Events::Rule").values():
        yield from rule["Targets"]


def dead_letter_queues(template: Template) -> set[str]:
    """Return the dead-letter queues; fail if something has none."""
    dead: set[str] = set()
    for source in template.of_type("AWS::Lambda::EventSourceMapping").values():
        (queue,) = referred(source["EventSourceArn"])
        redrive = template.resources[queue]["Properties"]["RedrivePolicy"]
        dead |= set(referred(redrive["deadLetterTargetArn"]))
    for schedule in template.of_type("AWS::Scheduler::Schedule").values():
        dead |= set(referred(schedule["Target"]["DeadLetterConfig"]["Arn"]))
    for rule in template.of_type("AWS::Events::Rule").values():
        for target in rule["Targets"]:
            dead |= set(referred(target["DeadLetterConfig"]["Arn"]))
    for target in asynchronous(template):
        (alias,) = referred(target["Arn"])
        (function,) = referred(template.resources[alias]["Properties"]["FunctionName"])
        # An asynchronous invocation fails inside Lambda.
        failures = [
            config["DestinationConfig"]["OnFailure"]["Destination"]
            for config in template.of_type("AWS::Lambda::EventInvokeConfig").values()
            if config["FunctionName"] == {"Ref": function}
        ]
        assert failures, f"{function} loses failed asynchronous invocations"
        dead |= set(referred(failures))
    return dead


def test_every_queue_and_schedule_has_a_dead_letter_queue_with_an_alarm(template: Template) -> None:
    """The first message in a dead-letter queue raises an alarm."""
    dead = dead_letter_queues(template)
    queues = set(template.of_type("AWS::SQS::Queue"))
    assert dead
    assert dead <= queues
    alarmed = {
        name
        for alarm in template.of_type("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == "ApproximateNumberOfMessagesVisible" and alarm["Threshold"] == 0
        for name in referred(alarm["Dimensions"])
    }
    assert dead == alarmed


def test_schedules_may_write_to_their_dead_letter_queue(template: Template) -> None:
    """Otherwise failed events would be lost silently."""
    for schedule in template.of_type("AWS::Scheduler::Schedule").values():
        (role,) = referred(schedule["Target"]["RoleArn"])
        allowed = [
            resource
            for holder, statement in template.statements()
            if holder == role and "sqs:SendMessage" in listed(statement["Action"])
            for resource in listed(statement["Resource"])
        ]
        assert schedule["Target"]["DeadLetterConfig"]["Arn"] in allowed


def test_rules_may_write_to_their_dead_letter_queue(template: Template) -> None:
    """The queue accepts events from these rules only; without the policy, failed events would be lost silently."""
    rules = template.of_type("AWS::Events::Rule")
    assert rules
    for name, rule in rules.items():
        (queue,) = referred(rule["Targets"][0]["DeadLetterConfig"]["Arn"])
        (policy,) = (p for p in template.of_type("AWS::SQS::QueuePolicy").values() if p["Queues"] == [{"Ref": queue}])
        (statement,) = (each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow")
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sqs:SendMessage")
        assert list(referred(statement["Resource"])) == [queue]
        assert list(referred(statement["Condition"]["ArnEquals"]["aws:SourceArn"])) == [name]
        assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == {"Ref": "AWS::AccountId"}


def test_queues_require_tls(template: Template) -> None:
    """Each queue has one policy, because SQS keeps only one, and it denies requests without TLS."""
    policies = template.of_type("AWS::SQS::QueuePolicy").values()
    assert sorted(name for policy in policies for name in referred(policy["Queues"])) == sorted(
        template.of_type("AWS::SQS::Queue")
    )
    for policy in policies:
        (denied,) = (each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny")
        assert (denied["Principal"], denied["Action"], denied["Resource"]) == ("*", "sqs:*", "*")
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_function_has_an_alarm_on_its_errors(template: Template) -> None:
    """Every failed invocation of any function raises it."""
    alarmed = {
        name
        for alarm in template.of_type("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == "Errors"
        for name in referred(alarm["Dimensions"])
    }
    assert alarmed == set(template.of_type("AWS::Lambda::Function"))


def test_every_function_rolls_back_on_errors(template: Template) -> None:
    """The alarm on a function's errors rolls its new version back."""
    for name in template.functions:
        function = f"{name.title()}Function"
        group = template.of_type("AWS::CodeDeploy::DeploymentGroup")[f"{function}DeploymentGroup"]
        assert group["AlarmConfiguration"]["Alarms"] == [{"Name": {"Ref": f"{name.title()}ErrorsAlarm"}}]
        assert group["AutoRollbackConfiguration"]["Enabled"] is True
        alias = template.resources[template.alias(name)]
        update = alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        assert update["DeploymentGroupName"] == {"Ref": f"{function}DeploymentGroup"}


def test_all_at_once_deploys_whatever_alarm_is_on(template: Template) -> None:
    """CodeDeploy deploys nothing while the alarm is on. AllAtOnce works without it, so that you can deploy a fix."""
    speeds = template.source["Parameters"]["DeploymentSpeed"]["AllowedValues"]
    assert list(template.source["Mappings"]["Deployments"]) == speeds
    all_at_once = translated(DeploymentSpeed="AllAtOnce")
    gone = {name for name in template.resources.keys() - all_at_once.resources.keys() if "FunctionVersion" not in name}
    assert {template.resources[name]["Type"] for name in gone} == {
        "AWS::CodeDeploy::Application",
        "AWS::CodeDeploy::DeploymentGroup",
        "AWS::IAM::Role",
    }
    assert not any("UpdatePolicy" in r for r in all_at_once.resources.values() if r["Type"] == "AWS::Lambda::Alias")


def test_every_kind_of_failure_has_an_alarm(template: Template) -> None:
    """Lost, late, repeated, unknown, throttled, dropped and evicted work, bounces and complaints raise alarms."""
    watched = set()
    for alarm in template.of_type("AWS::CloudWatch::Alarm").values():
        if "EvaluationCriteria" in alarm:
            continue  # an alarm on a query: see test_nodes.py
        metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each]
        watched |= {(each["Namespace"], each["MetricName"]) for each in metrics or [alarm]}
    assert watched >= {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "AsyncEventsDropped"),
        ("AWS/ApiGateway", "5xx"),
        ("AWS/ApiGateway", "Latency"),
        ("AWS/ElastiCache", "Evictions"),
        ("AWS/ElastiCache", "ThrottledCmds"),
        ("AWS/SES", "Reputation.BounceRate"),
        ("AWS/SES", "Reputation.ComplaintRate"),
        (NAMESPACE, "UnknownOld"),
        (NAMESPACE, "TimerLateness"),
        (NAMESPACE, "HandoversRepeated"),
        (NAMESPACE, "ActivationsRepeated"),
        (NAMESPACE, "ActivationsDroppedLate"),
    }


def test_the_dashboard_shows_existing_metrics(template: Template) -> None:
    """It is valid JSON, and its functions count every metric of Opportune on it."""
    (dashboard,) = template.of_type("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    ours = [m for widget in widgets for m in widget["properties"]["metrics"] if m[0] == NAMESPACE]
    assert ours
    for _, metric, _, function, *_ in ours:
        assert any(f'"{metric}"' in path.read_text() for path in (ROOT / "functions" / function).glob("*.py")), metric


def test_timers_are_late_after_two_missed_wakes(template: Template) -> None:
    """The alarm is on the 99th percentile, and its threshold is two wakes and a minute."""
    alarm = template.of_type("AWS::CloudWatch::Alarm")["TimersLateAlarm"]
    assert (alarm["MetricName"], alarm["ExtendedStatistic"], "Statistic" in alarm) == ("TimerLateness", "p99", False)
    (wakes,) = (
        schedule["ScheduleExpression"]
        for schedule in template.of_type("AWS::Scheduler::Schedule").values()
        if schedule["Target"].get("Input") == '{"type": "wake"}'
    )
    assert (wakes, alarm["Threshold"]) == ("rate(1 minute)", 3 * 60_000)


def test_every_alarm_notifies_the_topic(template: Template) -> None:
    """All alarms send to the one topic."""
    topics = [{"Ref": name} for name in template.of_type("AWS::SNS::Topic")]
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == topics, name


def test_alarms_use_existing_metrics(template: Template) -> None:
    """The function counts the metric of each alarm on it; with a wrong name the alarm would never go off."""
    ours = [a for a in template.of_type("AWS::CloudWatch::Alarm").values() if a.get("Namespace") == NAMESPACE]
    assert ours
    for alarm in ours:
        (dimension,) = alarm["Dimensions"]
        assert dimension["Name"] == "service"
        folder = ROOT / "functions" / dimension["Value"]
        assert any(f'"{alarm["MetricName"]}"' in path.read_text() for path in folder.glob("*.py"))


def test_events_about_emails_reach_the_engager(template: Template) -> None:
    """E-mails use the configuration set, its events go to the default bus, and a rule sends them to the Engager."""
    (events,) = template.of_type("AWS::SES::ConfigurationSetEventDestination").values()
    (configuration,) = template.of_type("AWS::SES::ConfigurationSet")
    assert events["ConfigurationSetName"] == {"Ref": configuration}
    destination = events["EventDestination"]
    assert destination["Enabled"] is True
    assert set(destination["MatchingEventTypes"]) == {"send", "delivery", "reject", "bounce", "complaint"}
    assert "event-bus/default" in str(destination["EventBridgeDestination"]["EventBusArn"])
    (rule,) = template.of_type("AWS::Events::Rule").values()
    assert "EventBusName" not in rule
    mine = {"mail": {"tags": {"ses:configuration-set": [{"Ref": configuration}]}}}
    assert rule["EventPattern"] == {"source": ["aws.ses"], "detail": mine}
    (target,) = rule["Targets"]
    assert target["Arn"] == {"Ref": template.alias("engager")}
    sends = template.functions["engager"]["Environment"]["Variables"]["OPPORTUNE_SES_CONFIGURATION_SET"]
    assert sends == {"Ref": configuration}


@pytest.mark.parametrize(("caller", "called"), [("gateway", "decider"), ("decider", "engager")])
def test_inner_calls_use_aliases(template: Template, caller: str, called: str) -> None:
    """A function calls the next one by its alias, and may call nothing else."""
    alias = {"Ref": template.alias(called)}
    variables = template.functions[caller]["Environment"]["Variables"]
    assert variables[f"OPPORTUNE_{called.upper()}_FUNCTION"] == alias
    invoked = [
        statement["Resource"]
        for role, statement in template.statements()
        if role == f"{caller.title()}FunctionRole"
        and statement["Action"] == "lambda:InvokeFunction"
        and statement["Sid"] != "InvokeItself"
    ]
    assert invoked == [alias]


def test_every_event_reaches_an_alias(template: Template) -> None:
    """APIs, queues, schedules and rules call aliases too, so that all switch to a new version together."""
    aliases = {template.alias(name) for name in template.functions}
    routes = {name: api["Body"]["paths"] for name, api in template.of_type("AWS::ApiGatewayV2::Api").items()}
    called = {
        (api, path): set(referred(route)) & aliases for api, paths in routes.items() for path, route in paths.items()
    }
    assert called == {
        ("Api", "$default"): {template.alias("gateway")},
        ("PreferencesApi", "/unsubscribe/{token}"): {template.alias("preferences")},
    }
    targets = [list(referred(s["FunctionName"])) for s in template.of_type("AWS::Lambda::EventSourceMapping").values()]
    targets += [list(referred(target["Arn"])) for target in asynchronous(template)]
    for target in targets:
        assert aliases & set(target), target


def test_a_changed_setting_publishes_a_version(template: Template) -> None:
    """Otherwise the alias would keep the old environment."""
    functions = {n: r for n, r in template.source["Resources"].items() if r["Type"] == "AWS::Serverless::Function"}
    assert all(function["Properties"]["AutoPublishAliasAllProperties"] for function in functions.values())


def test_only_the_refresher_may_loop(template: Template) -> None:
    """It continues in further invocations as often as needed. Lambda stops loops of all other functions."""
    circling = {name for name, function in template.functions.items() if function.get("RecursiveLoop") == "Allow"}
    assert circling == {"refresher"}


def test_decider_and_engager_are_invoked_every_minute(template: Template) -> None:
    """The inputs are a valid wake of all partitions and a valid sweep."""
    inputs = {
        alias: (schedule["ScheduleExpression"], schedule["Target"]["Input"])
        for schedule in template.of_type("AWS::Scheduler::Schedule").values()
        if "Input" in schedule["Target"]
        for alias in referred(schedule["Target"]["Arn"])
    }
    assert inputs.keys() == {template.alias("decider"), template.alias("engager")}
    assert {expression for expression, _ in inputs.values()} == {"rate(1 minute)"}
    assert msgspec.json.decode(inputs[template.alias("decider")][1], type=DeciderRequest) == Wake()
    assert msgspec.json.decode(inputs[template.alias("engager")][1], type=Sweep) == Sweep()


def test_a_throttled_message_is_retried_until_it_is_too_late(template: Template) -> None:
    """The queue gives up no message before the default `max_lateness` has passed."""
    queue = template.of_type("AWS::SQS::Queue")["Deliveries"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] * 1000 >= LATENESS_MS


def test_messages_stay_hidden_for_six_timeouts(template: Template) -> None:
    """Lambda recommends it, so that a message does not return while its batch is in progress."""
    for source in template.of_type("AWS::Lambda::EventSourceMapping").values():
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        (queue,) = referred(source["EventSourceArn"])
        (alias,) = referred(source["FunctionName"])
        (function,) = referred(template.resources[alias]["Properties"]["FunctionName"])
        timeout = template.resources[function]["Properties"]["Timeout"]
        assert template.resources[queue]["Properties"]["VisibilityTimeout"] >= 6 * timeout


def test_no_link_is_logged(template: Template) -> None:
    """Neither API logs paths or queries, which hold tokens and keys."""
    formats = [stage["AccessLogSettings"]["Format"] for stage in template.of_type("AWS::ApiGatewayV2::Stage").values()]
    assert len(formats) == 2
    for text in formats:
        assert set(re.findall(r"\$context\.(\w+)", text)) <= LOGGED


def test_every_parameter_and_output_has_a_description(template: Template) -> None:
    """Descriptions explain each of them."""
    for part in ("Parameters", "Outputs"):
        for name, body in template.source[part].items():
            assert len(body.get("Description", "")) > 15, name


def test_sam_validate_passes(template: Template) -> None:
    """`sam validate --lint` finds nothing."""
    command = [".venv-sam/bin/sam", "validate", "--lint"]
    env = {**os.environ, "SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_yaml_aliases() -> None:
    """CloudFormation does not support anchors and aliases."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    assert not re.findall(r"(?:^|\s)[&*][A-Za-z]\w+$", text, flags=re.MULTILINE)


def test_the_built_functions_are_complete(built: Path) -> None:
    """`make build` creates a folder per function with code, Lua and libraries, without what Lambda provides."""
    for name in FUNCTIONS:
        folder = built / f"{name.title()}Function"
        for part in (f"{name}/app.py", "shared/settings.py", "decider/lua/include/machine.lua", "pymongo", "msgspec"):
            assert (folder / part).exists(), part
        assert (folder / "pymongo_auth_aws").exists(), "the functions could not authenticate to MongoDB with IAM"
        for part in ("boto3", "botocore", "s3transfer", "urllib3", "opportune"):
            assert not (folder / part).exists(), part


def test_the_guide_has_a_section_for_every_alarm(template: Template, web_acl: Template) -> None:
    """`docs/deploy.md` has a section for each alarm, and for no other."""
    document = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^### (\w+Alarm)$", document, flags=re.MULTILINE))
    assert sections == {name for each in (template, web_acl) for name in each.of_type("AWS::CloudWatch::Alarm")}


def test_the_guide_names_existing_parameters_and_outputs(template: Template) -> None:
    """The template has the parameters and outputs in `docs/deploy.md`."""
    document = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b([A-Z][A-Za-z]+)=[a-zA-Z]", document)) - {"TIME"}
    assert named <= template.source["Parameters"].keys() | {"EVENTS"}
    for output in ("EndpointUrl", "AlarmTopic", "DashboardName", "DeliveriesDeadUrl", "SenderRecord1", "SenderRecord3"):
        assert output in template.source["Outputs"]
