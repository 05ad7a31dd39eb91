"""The queue of deliveries: messages reach the function as on AWS, and failed ones stay in the queue."""

import contextlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opportune.local import aws
from opportune.local.environments import InvocationResult
from opportune.local.queues import QueueMapping, handled_ids
from opportune.system.errors import LocalStackError, Throttled
from opportune.system.subprocesses import Subprocesses


@pytest.fixture(scope="module")
def aws_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a started AWS stand-in."""
    folder: Path = tmp_path_factory.mktemp("aws")
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses:
        yield aws.start(subprocesses)


@pytest.fixture
def resources(aws_url: str) -> aws.Resources:
    """Return new resources; failed messages become visible again within a test."""
    connection = http.client.HTTPConnection(aws_url.removeprefix("http://"), timeout=5)
    with contextlib.closing(connection):
        connection.request("POST", "/moto-api/reset")
        assert connection.getresponse().status == 200
    made = aws.create_resources(aws_url, ["example.com"])
    sqs = aws.client("sqs", aws_url)
    sqs.set_queue_attributes(QueueUrl=made.queue_url, Attributes={"VisibilityTimeout": "3"})
    return made


class RecordingEngager:
    """A stand-in for the Engager's pool: it keeps the records and answers by a rule."""

    def __init__(self, rule: Callable[[list[dict[str, Any]]], InvocationResult]) -> None:
        self._rule = rule
        self._lock = threading.Lock()
        self.records: list[dict[str, Any]] = []

    def __call__(self, payload: bytes) -> InvocationResult:
        """Record the batch and answer."""
        records = json.loads(payload)["Records"]
        with self._lock:
            self.records += records
            return self._rule(records)

    def bodies(self) -> list[str]:
        """Return the bodies in order of arrival."""
        return [record["body"] for record in self.records]


@pytest.fixture
def mapping(aws_url: str, resources: aws.Resources) -> Iterator[Callable[[RecordingEngager], QueueMapping]]:
    """Return a function that starts a mapping to a handler; all are stopped at the end."""
    started: list[QueueMapping] = []

    def start(invoke: RecordingEngager) -> QueueMapping:
        sqs = aws.client("sqs", aws_url)
        started.append(QueueMapping(sqs, resources.queue_url, resources.queue_arn, invoke))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.stop()
    for each in started:
        each.join(5)


def _failures(*message_ids: str) -> InvocationResult:
    body = {"batchItemFailures": [{"itemIdentifier": each} for each in message_ids]}
    return InvocationResult(json.dumps(body).encode())


def _send(aws_url: str, resources: aws.Resources, *bodies: str) -> None:
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    aws.client("sqs", aws_url).send_message_batch(QueueUrl=resources.queue_url, Entries=entries)


Start = Callable[[RecordingEngager], QueueMapping]


def test_records_have_the_format_of_aws(aws_url: str, resources: aws.Resources, mapping: Start) -> None:
    """Each message arrives once, with ids, attributes and source. Drain waits until the queue is empty."""
    engager = RecordingEngager(lambda _: _failures())
    queue = mapping(engager)
    _send(aws_url, resources, *(f"m{n}" for n in range(10)))
    queue.drain(10)
    assert sorted(engager.bodies()) == sorted(f"m{n}" for n in range(10))
    record = engager.records[0]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == "arn:aws:sqs:eu-central-1:123456789012:deliveries"
    assert record["awsRegion"] == "eu-central-1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert record["messageId"]
    assert record["receiptHandle"]


def test_only_failed_items_come_back(aws_url: str, resources: aws.Resources, mapping: Start) -> None:
    """After a partial failure only the failed messages are delivered again, with a higher count."""

    def rule(records: list[dict[str, Any]]) -> InvocationResult:
        first = [r for r in records if r["attributes"]["ApproximateReceiveCount"] == "1"]
        return _failures(*(record["messageId"] for record in first if record["body"] == "bad"))

    engager = RecordingEngager(rule)
    _send(aws_url, resources, "good", "bad", "fine")
    mapping(engager).drain(15)
    assert sorted(engager.bodies()) == ["bad", "bad", "fine", "good"]
    counts = [r["attributes"]["ApproximateReceiveCount"] for r in engager.records if r["body"] == "bad"]
    assert counts == ["1", "2"]


def test_an_error_keeps_the_whole_batch(
    aws_url: str, resources: aws.Resources, mapping: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """After an error or a throttled call all messages stay. The log says why, and drain reports them."""

    def rule(records: list[dict[str, Any]]) -> InvocationResult:
        if "throttled" in {record["body"] for record in records}:
            raise Throttled("busy")
        return InvocationResult(b'{"errorType": "Broken"}', "Unhandled")

    engager = RecordingEngager(rule)
    queue = mapping(engager)
    _send(aws_url, resources, "a")
    _send(aws_url, resources, "throttled")
    with pytest.raises(LocalStackError, match="not empty after"):
        queue.drain(1)
    assert {"a", "throttled"} <= set(engager.bodies())
    assert "Broken" in caplog.text
    assert "busy" in caplog.text


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"null", {"a", "b"}),
        (b"{}", {"a", "b"}),
        (b'{"batchItemFailures": []}', {"a", "b"}),
        (b'{"batchItemFailures": null}', {"a", "b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "stranger"}]}', set()),
        (b'{"batchItemFailures": [{"id": "a"}]}', set()),
        (b'{"batchItemFailures": "a"}', set()),
        (b'"text"', set()),
        (b"{", set()),
    ],
)
def test_answers_mean_what_they_mean_on_aws(payload: bytes, expected: set[str]) -> None:
    """No list or an empty one means that all succeeded. A malformed answer means that all failed."""
    assert handled_ids(["a", "b"], InvocationResult(payload)) == expected
    assert handled_ids(["a", "b"], InvocationResult(payload, "Unhandled")) == set()


def test_poison_messages_end_in_the_dead_letter_queue(aws_url: str, resources: aws.Resources, mapping: Start) -> None:
    """A message that fails five times is moved to the dead-letter queue, and the queue drains."""
    sqs = aws.client("sqs", aws_url)
    sqs.set_queue_attributes(QueueUrl=resources.queue_url, Attributes={"VisibilityTimeout": "0"})
    engager = RecordingEngager(lambda records: _failures(*(record["messageId"] for record in records)))
    _send(aws_url, resources, "poison")
    mapping(engager).drain(10)
    assert engager.bodies() == ["poison"] * 5
    (dead,) = sqs.receive_message(QueueUrl=resources.dead_letter_url)["Messages"]
    assert dead["Body"] == "poison"


def test_empty_returns_immediately(aws_url: str, resources: aws.Resources, mapping: Start) -> None:
    """A message that waits or is in progress counts; a delayed one does not."""
    begun, finish = threading.Event(), threading.Event()

    def rule(_: list[dict[str, Any]]) -> InvocationResult:
        begun.set()
        finish.wait(10)
        return _failures()

    queue = mapping(RecordingEngager(rule))
    assert queue.empty()
    _send(aws_url, resources, "slow")
    assert begun.wait(10)
    assert not queue.empty()
    finish.set()
    queue.drain(10)
    sqs = aws.client("sqs", aws_url)
    sqs.send_message(QueueUrl=resources.queue_url, MessageBody="delayed", DelaySeconds=900)
    assert queue.empty()
