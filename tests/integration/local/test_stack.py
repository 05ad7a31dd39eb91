"""The whole local stack with small functions: started, found by commands, drained and stopped."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from opportune.cli import main
from opportune.local import aws
from opportune.local.environments import Function
from opportune.local.stack import Stack
from opportune.operations import outbox
from opportune.system import state_file
from opportune.system.errors import LocalStackError
from opportune.system.ports import HOST
from opportune.system.processes import recorded
from opportune.system.state_file import running_stack

HANDLERS = """
import json, os
import boto3

def gateway(event, context):
    payload = json.dumps({"path": event["rawPath"], "to": event.get("body")})
    answer = boto3.client("lambda").invoke(FunctionName=os.environ["OPPORTUNE_DECIDER_FUNCTION"], Payload=payload)
    return {"statusCode": 200, "body": answer["Payload"].read().decode()}

def decider(event, context):
    queue = os.environ["OPPORTUNE_DELIVERIES_QUEUE_URL"]
    if event.get("type") == "wake":
        return {}
    for to in [record["body"] for record in event["Records"]] if "Records" in event else [event["to"]]:
        boto3.client("sqs").send_message(QueueUrl=queue, MessageBody=to)
    return {name: value for name, value in os.environ.items() if name.startswith("OPPORTUNE_")}

def preferences(event, context):
    settings = {name: value for name, value in os.environ.items() if name.startswith("OPPORTUNE_")}
    return {"statusCode": 200, "body": json.dumps({"path": event["rawPath"], **settings})}

def engager(event, context):
    if event.get("type") == "sweep":
        boto3.client("sns").publish(PhoneNumber="+14155550100", Message="swept")
        return {}
    if "Records" not in event:
        return {name: value for name, value in os.environ.items() if name.startswith("OPPORTUNE_")}
    for record in event["Records"]:
        boto3.client("sesv2").send_email(
            FromEmailAddress="shop@example.com",
            Destination={"ToAddresses": [record["body"]]},
            Content={"Simple": {"Subject": {"Data": "hello"}, "Body": {"Html": {"Data": "<p>hi</p>"}}}},
        )
    return {"batchItemFailures": []}
"""
OTHER_PROCESS = """
import signal, sys, time
from pathlib import Path
from opportune.local.environments import Function
from opportune.local.stack import Stack
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
env = {"PYTHONPATH": sys.argv[2]}
with Stack(
    state_dir=Path(sys.argv[1]),
    functions={"gateway": Function("stack_handlers.gateway", timeout_s=5, env=env)},
    redis_url=sys.argv[3],
    mongodb_url=sys.argv[4],
):
    print("up", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def handlers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small handlers."""
    folder = tmp_path_factory.mktemp("handlers")
    (folder / "stack_handlers.py").write_text(HANDLERS)
    return folder


def _functions(handlers: Path) -> dict[str, Function]:
    env = {"PYTHONPATH": str(handlers)}
    return {
        name: Function(f"stack_handlers.{name}", timeout_s=8, env=env)
        for name in ("gateway", "decider", "engager", "preferences")
    }


@pytest.fixture(scope="module")
def stack(handlers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Return a running stack."""
    state_dir = tmp_path_factory.mktemp("state")
    with Stack(state_dir=state_dir, functions=_functions(handlers), extra_env={"OPPORTUNE_EXTRA": "1"}) as up:
        yield up


def _post(stack: Stack, path: str, body: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(stack.http_url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "text/plain"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_a_request_travels_through_all_functions(stack: Stack) -> None:
    """HTTP → Gateway → Decider → SQS → Engager → SES, with real boto3 clients."""
    status, settings = _post(stack, "/v1/track", "ann@site.test")
    assert status == 200
    stack.drain(20)
    assert [mail["to"] for mail in stack.outbox()] == [["ann@site.test"]]
    assert settings["OPPORTUNE_REDIS_URL"] == stack.redis_url
    assert settings["OPPORTUNE_MONGODB_URL"] == stack.mongodb_url
    assert settings["OPPORTUNE_POLL_SECONDS"] == "1"
    assert settings["OPPORTUNE_EXTRA"] == "1"
    assert "OPPORTUNE_DECIDER_FUNCTION" not in settings, "only the Gateway gets that"


def test_each_function_gets_what_it_declares(stack: Stack) -> None:
    """The Decider gets doorbells and schedules; Engager and Preferences get links, webhooks and one secret."""
    _, decider = _post(stack, "/v1/track", "eve@site.test")
    assert decider["OPPORTUNE_DOORBELLS_QUEUE_URL"] == stack.doorbells_url
    assert decider["OPPORTUNE_DOORBELLS_QUEUE_ARN"].endswith(":doorbells")
    assert decider["OPPORTUNE_SCHEDULES_DEAD_ARN"].endswith(":schedules-dead")
    assert decider["OPPORTUNE_SCHEDULE_GROUP"]
    assert decider["OPPORTUNE_SCHEDULE_ROLE_ARN"]
    assert "OPPORTUNE_SIGNING_SECRET" not in decider
    engager = json.loads(
        aws.client("lambda", stack.lambda_url).invoke(FunctionName="engager", Payload=b"{}")["Payload"].read()
    )
    assert engager["OPPORTUNE_PREFERENCES_URL"] == stack.http_url
    assert engager["OPPORTUNE_WEBHOOK_SINK"].startswith(f"http://{HOST}:")
    _, preferences = _post(stack, "/unsubscribe/token?x=1", "")
    assert preferences["path"] == "/unsubscribe/token"
    assert len(preferences["OPPORTUNE_SIGNING_SECRET"]) >= 32
    assert preferences["OPPORTUNE_SIGNING_SECRET"] == engager["OPPORTUNE_SIGNING_SECRET"]
    assert not any(settings["OPPORTUNE_CLOCK"] for settings in (decider, engager, preferences))
    stack.drain(20)


def test_a_doorbell_wakes_the_decider_and_a_drain_waits_for_it(stack: Stack) -> None:
    """A drain waits for doorbell → Decider → delivery → Engager, but not for delayed messages."""
    sqs = aws.client("sqs", stack.aws_url)
    for delay_s, to in [(0, "rung@site.test"), (900, "delayed@site.test")]:
        sqs.send_message(QueueUrl=stack.doorbells_url, MessageBody=to, DelaySeconds=delay_s)
    stack.drain(20)
    receivers = [mail["to"] for mail in stack.outbox()]
    assert ["rung@site.test"] in receivers
    assert ["delayed@site.test"] not in receivers


def test_the_engager_sweeps(stack: Stack) -> None:
    """The Engager is swept every second, and the outbox has what it sends."""
    deadline = time.monotonic() + 20
    while not stack.accepted("sms"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stack.accepted("sms")[0].text == "swept"


def test_the_outbox_has_all_channels(stack: Stack) -> None:
    """E-mail, push and webhook are in order: in the stack, on its page and in the command."""
    _post(stack, "/v1/track", "zoe@site.test")
    stack.drain(20)
    endpoint = stack.push_endpoint("device")
    aws.client("sns", stack.aws_url).publish(TargetArn=endpoint, Message="knock, knock")
    engager = json.loads(
        aws.client("lambda", stack.lambda_url).invoke(FunctionName="engager", Payload=b"{}")["Payload"].read()
    )
    with urlopen(Request(engager["OPPORTUNE_WEBHOOK_SINK"], b"[markup]", method="POST"), timeout=10):
        pass
    sent = [message for message in stack.accepted() if message.channel != "sms"]
    assert [message.channel for message in sent[-3:]] == ["email", "push", "webhook"]
    assert (sent[-3].to, sent[-2].text, sent[-1].text) == (["zoe@site.test"], "knock, knock", "[markup]")
    with urlopen(f"{stack.http_url}/outbox", timeout=10) as answer:
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "knock, knock" in answer.read().decode()
    printed = CliRunner().invoke(main.app, ["outbox", "--url", stack.http_url, "--json"], catch_exceptions=False)
    listed = [each for each in json.loads(printed.stdout) if each["channel"] != "sms"]
    assert [each["channel"] for each in listed[-3:]] == ["email", "push", "webhook"]
    table = outbox.message_table(sent)
    assert table.row_count == len(sent)
    shown = CliRunner().invoke(main.app, ["outbox", "--url", stack.http_url], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "[markup]" in shown.stdout
    assert f"{stack.http_url}/outbox" in shown.stdout
    assert CliRunner().invoke(main.app, ["outbox", "--url", stack.aws_url]).exit_code == 2


def test_a_fast_clock_is_everywhere(stack: Stack, handlers: Path, tmp_path: Path) -> None:
    """At speed 600 a schedule due in ten minutes runs within seconds; functions and outbox use that clock."""
    functions = {name: function for name, function in _functions(handlers).items() if name in ("decider", "engager")}
    begun = time.monotonic()
    with Stack(
        state_dir=tmp_path, functions=functions, redis_url=stack.redis_url, mongodb_url=stack.mongodb_url, speed=600
    ) as fast:
        state = running_stack(tmp_path)
        assert state is not None
        payload = json.dumps({"to": "now@site.test"}).encode()
        answer = aws.client("lambda", fast.lambda_url).invoke(FunctionName="decider", Payload=payload)
        settings = json.loads(answer["Payload"].read())
        assert settings["OPPORTUNE_CLOCK"] == state["clock"]
        assert settings["OPPORTUNE_CLOCK"].endswith(",600")
        assert settings["OPPORTUNE_POLL_SECONDS"] == "600"
        due = fast.clock() + 600_000
        aws.client("scheduler", fast.aws_url).create_schedule(
            Name="bell",
            GroupName=settings["OPPORTUNE_SCHEDULE_GROUP"],
            ScheduleExpression=f"at({datetime.fromtimestamp(due / 1000, UTC):%Y-%m-%dT%H:%M:%S})",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={
                "Arn": settings["OPPORTUNE_DOORBELLS_QUEUE_ARN"],
                "RoleArn": settings["OPPORTUNE_SCHEDULE_ROLE_ARN"],
                "Input": "bell@site.test",
            },
        )
        while not (rung := [mail for mail in fast.outbox() if mail["to"] == ["bell@site.test"]]):
            assert time.monotonic() < begun + 60
            time.sleep(0.05)
        # A schedule has only whole seconds.
        assert due - 1000 <= rung[0]["at"] <= fast.clock()


def test_other_programs_find_the_running_stack(stack: Stack) -> None:
    """stack.json names process and URLs, and a client can use them."""
    state = running_stack(stack.state_dir)
    assert state is not None
    assert state["pid"] == os.getpid()
    assert (state["http_url"], state["queue_url"]) == (stack.http_url, stack.queue_url)
    assert aws.client("lambda", state["lambda_url"]).invoke(FunctionName="engager", Payload=b'{"Records": []}')
    assert running_stack(stack.state_dir / "elsewhere") is None


def test_a_second_stack_is_refused(stack: Stack, handlers: Path) -> None:
    """The error names process and URL of the first stack, which keeps running."""
    with pytest.raises(LocalStackError, match=f"process {os.getpid()}, {stack.http_url}"):
        Stack(state_dir=stack.state_dir, functions=_functions(handlers)).start()
    assert running_stack(stack.state_dir) is not None
    assert _post(stack, "/v1/track", "bob@site.test")[0] == 200


def test_a_busy_port_is_reported_and_nothing_is_left(handlers: Path, tmp_path: Path) -> None:
    """The error names the port. State file and run folder are deleted."""
    with socket.socket() as busy:
        busy.bind((HOST, 0))
        busy.listen()
        port = busy.getsockname()[1]
        with pytest.raises(LocalStackError, match=f"port {port} "):
            Stack(state_dir=tmp_path, port=port, functions=_functions(handlers)).start()
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_function_that_cannot_start_stops_the_stack(stack: Stack, tmp_path: Path) -> None:
    """The error names the function, and all started processes are stopped."""
    progress: list[tuple[str, str]] = []
    broken = Stack(
        state_dir=tmp_path,
        functions={"gateway": Function("no_such_package.handler", timeout_s=5)},
        redis_url=stack.redis_url,
        mongodb_url=stack.mongodb_url,
        progress=lambda label, state: progress.append((label, state)),
    )
    with pytest.raises(LocalStackError, match="function gateway cannot import"):
        broken.start()
    assert ("function gateway", "failed") in progress
    assert ("Valkey", "ready") in progress
    assert not broken.run_dir.exists()
    broken.stop()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_exit_leaves_processes(stack: Stack, handlers: Path, tmp_path: Path, number: signal.Signals) -> None:
    """However the program ends, its subprocesses end too, and the next stack starts in the same folder."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), str(handlers), stack.redis_url]
    with subprocess.Popen([*command, stack.mongodb_url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        state = running_stack(tmp_path)
        assert state is not None
        assert state["pid"] == other.pid
        processes = recorded(Path(state["run_dir"]))
        assert len([process for process in processes if process.alive()]) >= 3
        other.send_signal(number)
        other.wait(10)
    deadline = time.monotonic() + 10
    while any(process.alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(process.alive() for process in processes)
    assert running_stack(tmp_path) is None
    assert (tmp_path / state_file.NAME).exists() is (number is signal.SIGKILL)
    line = state_file.claim(tmp_path)
    assert (line is not None and str(state["pid"]) in line) is (number is signal.SIGKILL)
    state_file.release(tmp_path)


def test_stop_leaves_only_the_logs(stack: Stack) -> None:
    """After the stop, in the last test of this file, no process runs and only the logs remain."""
    processes = recorded(stack.run_dir)
    stack.stop()
    stack.stop()
    assert not any(process.alive() for process in processes)
    assert [path.name for path in stack.state_dir.iterdir()] == ["logs"]
    assert running_stack(stack.state_dir) is None
    assert (stack.logs_dir / "engager.log").exists()
