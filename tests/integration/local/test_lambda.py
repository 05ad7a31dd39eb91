"""Execution environments and Lambda's Invoke API, called by a real boto3 client."""

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from opportune.local import aws
from opportune.local.environments import Function, InvocationResult, Pool
from opportune.local.functions import function_environment
from opportune.local.lambda_endpoint import LambdaEndpoint, function_name
from opportune.local.schedules import Schedule
from opportune.system.errors import LocalStackError, Throttled
from opportune.system.processes import recorded
from opportune.system.subprocesses import Subprocesses

HANDLERS = """
import os, signal, time
from pathlib import Path

def echo(event, context):
    return {
        "event": event,
        "pid": os.getpid(),
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "request_id": context.aws_request_id,
        "memory": context.memory_limit_in_mb,
        "left_ms": context.get_remaining_time_in_millis(),
        "site": os.environ.get("SITE"),
    }

def act(event, context):
    match event["do"]:
        case "sleep":
            time.sleep(event["s"])
        case "raise":
            raise KeyError("gone")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            raise SystemExit(3)
        case "write":
            time.sleep(0.1)
            Path(event["path"]).write_text("done")
        case "object":
            return object()
    return os.getpid()
"""


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pool]]:
    """Return started pools with small handlers."""
    folder = tmp_path_factory.mktemp("lambda")
    (folder / "small_handlers.py").write_text(HANDLERS)
    functions = {
        "echo": Function("small_handlers.echo", timeout_s=5, env={"SITE": "shop"}),
        "act": Function("small_handlers.act", timeout_s=1, max_environments=3),
    }
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses:
        started = {name: _pool(name, function, subprocesses, folder) for name, function in functions.items()}
        for pool in started.values():
            pool.warm_up()
        yield started
        for pool in started.values():
            pool.stop()


@pytest.fixture(scope="module")
def endpoint(pools: dict[str, Pool]) -> Iterator[LambdaEndpoint]:
    """Return a started Invoke endpoint."""
    started = LambdaEndpoint(pools)
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(endpoint: LambdaEndpoint) -> Any:
    """Return a real boto3 Lambda client."""
    return aws.client("lambda", endpoint.url)


def _pool(name: str, function: Function, subprocesses: Subprocesses, folder: Path) -> Pool:
    extra = {"PYTHONPATH": str(folder)}
    env = function_environment(name, function, settings={}, aws_url="", lambda_url="", extra=extra)
    return Pool(name, function, subprocesses, env, folder)


def _act(pools: dict[str, Pool], **event: object) -> Any:
    answer = pools["act"].invoke(json.dumps(event).encode())
    return answer.error, json.loads(answer.payload)


def test_invoke_passes_event_context_and_environment(client: Any) -> None:
    """The handler sees the event, Lambda's context object and its own environment."""
    answer = client.invoke(FunctionName="echo", Payload=b'{"a": "\xc3\xa4"}')
    result = json.loads(answer["Payload"].read())
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert result["event"] == {"a": "ä"}
    assert (result["name"], result["memory"], result["site"]) == ("echo", 512, "shop")
    assert result["arn"] == "arn:aws:lambda:eu-central-1:123456789012:function:echo"
    assert 4000 < result["left_ms"] <= 5000


@pytest.mark.parametrize(
    "identifier",
    [
        "echo",
        "echo:live",
        "arn:aws:lambda:eu-central-1:123456789012:function:echo",
        "arn:aws:lambda:eu-central-1:123456789012:function:echo:live",
        "123456789012:function:echo",
    ],
)
def test_functions_are_found_by_name_alias_and_arn(client: Any, identifier: str) -> None:
    """A name, an alias and all forms of an ARN find the function."""
    assert function_name(identifier) == "echo"
    assert client.invoke(FunctionName=identifier, Payload=b"{}")["StatusCode"] == 200


def test_an_unknown_function_is_not_found(client: Any) -> None:
    """boto3 raises ResourceNotFoundException, as on AWS."""
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="function:nobody"):
        client.invoke(FunctionName="nobody", Payload=b"{}")


def test_a_payload_that_is_not_json_is_rejected(client: Any) -> None:
    """boto3 raises InvalidRequestContentException, and the function is not called."""
    with pytest.raises(ClientError, match="InvalidRequestContent"):
        client.invoke(FunctionName="echo", Payload=b"{")


def test_an_exception_is_an_unhandled_error(client: Any) -> None:
    """FunctionError is Unhandled, and the payload names type and message."""
    answer = client.invoke(FunctionName="act", Payload=b'{"do": "raise"}')
    result = json.loads(answer["Payload"].read())
    assert answer["FunctionError"] == "Unhandled"
    assert (result["errorType"], result["errorMessage"]) == ("KeyError", "'gone'")
    assert result["stackTrace"]


def test_a_result_that_is_not_json_is_an_error(pools: dict[str, Pool]) -> None:
    """A result that cannot be serialised is reported as an error."""
    error, result = _act(pools, do="object")
    assert (error, result["errorType"]) == ("Unhandled", "Runtime.MarshalError")


@pytest.mark.parametrize(("do", "how"), [("die", "signal: 9"), ("exit", "exit status 3")])
def test_a_dead_environment_is_replaced(pools: dict[str, Pool], do: str, how: str) -> None:
    """The invocation fails with Runtime.ExitError, and another process serves the next one."""
    _, before = _act(pools, do="nothing")
    error, result = _act(pools, do=do)
    assert (error, result["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert how in result["errorMessage"]
    error, after = _act(pools, do="nothing")
    assert error is None
    assert after != before


def test_an_environment_that_died_idle_is_not_used(pools: dict[str, Pool]) -> None:
    """No invocation fails when an idle environment dies."""
    _, pid = _act(pools, do="nothing")
    os.kill(pid, 9)
    time.sleep(0.1)
    error, after = _act(pools, do="nothing")
    assert error is None
    assert after != pid


def test_a_function_is_cut_off_at_its_timeout(pools: dict[str, Pool]) -> None:
    """After the timeout the environment is killed, and the result says so."""
    _, before = _act(pools, do="nothing")
    started = time.monotonic()
    error, result = _act(pools, do="sleep", s=30)
    assert 1.0 <= time.monotonic() - started < 3.0
    assert error == "Unhandled"
    assert result["errorType"] == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in result["errorMessage"]
    assert _act(pools, do="nothing")[1] != before


def test_the_pool_grows_to_its_maximum_and_then_throttles(pools: dict[str, Pool]) -> None:
    """Three run at the same time. The fourth waits for the function's timeout and is throttled."""
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(lambda _: _act(pools, do="sleep", s=0.5), range(3)))
        pids = list(executor.map(lambda _: _act(pools, do="sleep", s=0.3)[1], range(3)))
        busy = [executor.submit(_act, pools, do="sleep", s=30) for _ in range(3)]
        time.sleep(0.05)
        with pytest.raises(Throttled):
            _act_until_throttled(pools)
        assert all(future.result()[0] == "Unhandled" for future in busy)
    assert len(set(pids)) == 3


def _act_until_throttled(pools: dict[str, Pool]) -> None:
    """Keep all environments busy for longer than a caller waits."""
    with ThreadPoolExecutor(8) as executor:
        for future in [executor.submit(_act, pools, do="sleep", s=30) for _ in range(8)]:
            future.result()


def test_event_invocations_return_at_once(client: Any, endpoint: LambdaEndpoint, tmp_path: Path) -> None:
    """An asynchronous invocation returns 202 and then runs; drain waits for it."""
    done = tmp_path / "done"
    payload = json.dumps({"do": "write", "path": str(done)})
    answer = client.invoke(FunctionName="act", InvocationType="Event", Payload=payload)
    assert answer["StatusCode"] == 202
    assert endpoint.drain(5)
    assert done.read_text() == "done"


class Busy:
    """A pool that throttles the first two calls."""

    name = "busy"

    def __init__(self) -> None:
        self.calls: list[bytes] = []

    def invoke(self, payload: bytes) -> InvocationResult:
        """Throttle, or answer."""
        self.calls.append(payload)
        if len(self.calls) < 3:
            raise Throttled("busy: no environment got free")
        return InvocationResult(b"null", None)


def test_an_event_invocation_waits_for_an_environment() -> None:
    """Like Lambda, the endpoint retries while the function is throttled."""
    busy: Any = Busy()
    endpoint = LambdaEndpoint({"busy": busy})
    endpoint.start()
    client = aws.client("lambda", endpoint.url)
    assert client.invoke(FunctionName="busy", InvocationType="Event", Payload=b"1")["StatusCode"] == 202
    assert endpoint.drain(5)
    endpoint.stop()
    assert busy.calls == [b"1"] * 3


def test_a_schedule_outlives_a_throttled_call() -> None:
    """The schedule continues after a throttled call."""
    busy = Busy()
    schedule = Schedule(busy.invoke, b"1", every_s=0.01)
    schedule.start()
    deadline = time.monotonic() + 5
    while len(busy.calls) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    schedule.stop()


def test_an_import_failure_names_function_and_cause(tmp_path: Path) -> None:
    """A handler that cannot be imported is reported at the start, with the end of its log."""
    (tmp_path / "broken_handlers.py").write_text("print('on my way')\nimport no_such_module_anywhere\n")
    function = Function("broken_handlers.handler", timeout_s=2, warm=0)
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        pool = _pool("decider", function, subprocesses, tmp_path)
        answer = pool.invoke(b"{}")
        assert answer.error == "Unhandled"
        assert json.loads(answer.payload)["errorType"] == "Runtime.ImportModuleError"
        eager = _pool("decider", Function("broken_handlers.handler", timeout_s=2), subprocesses, tmp_path)
        with pytest.raises(LocalStackError, match=r"(?s)function decider.*no_such_module_anywhere.*on my way"):
            eager.warm_up()
    assert not any(process.alive() for process in recorded(tmp_path / "run"))


def test_concurrent_callers_are_all_served(pools: dict[str, Pool]) -> None:
    """Many threads on few environments each get their own result."""
    answers: dict[int, int] = {}

    def call(number: int) -> None:
        answers[number] = json.loads(pools["echo"].invoke(str(number).encode()).payload)["event"]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number for number in range(40)}
