"""Act as Lambda's event source mapping: SQS → function, with partial batch failures."""

import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from opportune.local.aws import REGION
from opportune.local.environments import InvocationResult
from opportune.system.errors import LocalStackError

BATCH_SIZE = 10
POLL_WAIT_S = 1
MAX_LOGGED_CHARS = 500
_LOG = logging.getLogger("opportune.local.queues")

Invoke = Callable[[bytes], InvocationResult]


class QueueMapping:
    """Pass the messages of a queue to a function, and delete those that it handled.

    sqs: an SQS client
    pollers: how many batches may be in progress at the same time

    Messages of a failed batch become visible again after the queue's visibility timeout, as on AWS.
    """

    def __init__(self, sqs: Any, queue_url: str, queue_arn: str, invoke: Invoke, *, pollers: int = 2) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._queue_arn = queue_arn
        self._invoke = invoke
        self._stopping = threading.Event()
        self._busy = 0
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._poll, name=f"queue poller {n}", daemon=True) for n in range(pollers)
        ]

    def start(self) -> None:
        """Start polling in the background."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop polling without waiting for the current poll. May be called twice."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait until the pollers have ended, at most *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def drain(self, timeout_s: float) -> None:
        """Wait until no message is visible, in flight or being handled; raise `LocalStackError` on timeout."""
        deadline = time.monotonic() + timeout_s
        while True:
            visible, in_flight = self._counts()
            if not visible and not in_flight and not self._busy:
                return
            if time.monotonic() > deadline:
                name = self._queue_arn.rpartition(":")[2]
                raise LocalStackError(
                    f"the queue {name} was not empty after {timeout_s:g} s: {visible} waiting, {in_flight} in flight"
                )
            time.sleep(0.02)

    def empty(self) -> bool:
        """Return whether no message is visible, in flight or being handled. Delayed messages do not count."""
        return not any(self._counts()) and not self._busy

    def _counts(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        try:
            answer = self._sqs.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=names)
        except (BotoCoreError, ClientError) as error:
            raise LocalStackError(f"the queue does not respond: {error}") from error
        return int(answer["Attributes"][names[0]]), int(answer["Attributes"][names[1]])

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._sqs.receive_message(
                    QueueUrl=self._queue_url,
                    MaxNumberOfMessages=BATCH_SIZE,
                    WaitTimeSeconds=POLL_WAIT_S,
                    MessageSystemAttributeNames=["All"],
                    MessageAttributeNames=["All"],
                ).get("Messages", [])
                if messages:
                    self._handle(messages)
            except (BotoCoreError, ClientError) as error:
                if not self._stopping.wait(0.5):
                    _LOG.warning("the queue does not respond: %s", error)

    def _handle(self, messages: Sequence[dict[str, Any]]) -> None:
        with self._lock:
            self._busy += 1
        try:
            event = {"Records": [self._record(message) for message in messages]}
            try:
                answer = self._invoke(json.dumps(event).encode())
            except LocalStackError as error:
                _LOG.warning("a batch of %d stays in the queue: %s", len(messages), error.message)
                return
            done = handled_ids([message["MessageId"] for message in messages], answer)
            if len(done) < len(messages):
                kept, answered = len(messages) - len(done), answer.payload.decode(errors="replace")
                _LOG.warning(
                    "%d of %d messages stay in the queue: %s", kept, len(messages), answered[:MAX_LOGGED_CHARS]
                )
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
                if message["MessageId"] in done
            ]
            if entries:
                self._sqs.delete_message_batch(QueueUrl=self._queue_url, Entries=entries)
        finally:
            with self._lock:
                self._busy -= 1

    def _record(self, message: dict[str, Any]) -> dict[str, Any]:
        attributes = {
            name: {"stringValue": value.get("StringValue"), "dataType": value["DataType"]}
            for name, value in message.get("MessageAttributes", {}).items()
        }
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
            "awsRegion": REGION,
        }


def handled_ids(message_ids: Sequence[str], answer: InvocationResult) -> set[str]:
    """Return the ids of the messages that the function handled.

    As on AWS, a missing or empty list of failures means all of them. An error means none, and so does a
    failure whose identifier is missing, empty or unknown.
    """
    if answer.error:
        return set()
    try:
        failures = (json.loads(answer.payload) or {}).get("batchItemFailures") or []
        failed = {failure["itemIdentifier"] for failure in failures}
    except (ValueError, TypeError, KeyError, AttributeError):
        return set()
    return set(message_ids) - failed if failed <= set(message_ids) else set()
