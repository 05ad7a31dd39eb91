"""Hand activations over: what has no effect outside to the Engager at once, all else to the queue of deliveries.

And doorbells for what is delayed: one hop through a queue where it is soon, a one-time schedule where it is not. A
doorbell only says when to look: a lost, late, double or stale one is harmless, and a wake looks every minute.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from shared.contracts import Activation, Conversion, Doorbell, Engage, Engaged
from shared.errors import Unavailable
from shared.invoke import Invoke, retry_closed_connection

BATCH = 10  # what SendMessageBatch takes
LONGEST_HOP_S = 900  # what DelaySeconds takes


class Dispatch(Protocol):
    """The two ways out of the Decider."""

    def engage(
        self, activations: Sequence[Activation], conversions: Sequence[Conversion], deadline: int
    ) -> dict[str, dict[str, Any]]: ...
    def queue(self, activations: Sequence[Activation]) -> None: ...
    def ring(self, ring: Doorbell, now: int) -> None: ...
    def silence(self, key: str) -> None: ...


class Doorbells(NamedTuple):
    """Where doorbells hang: the queue (URL and ARN), the group of schedules, their role and dead-letter queue."""

    queue_url: str
    queue_arn: str
    group: str
    role_arn: str
    dead_arn: str


class AwsDispatch:
    """`Dispatch` over Lambda, SQS and EventBridge Scheduler; *scheduler* makes its client, at the first use."""

    def __init__(
        self, engager: Invoke, sqs: Any, queue_url: str, scheduler: Callable[[], Any], doorbells: Doorbells
    ) -> None:
        self._engager = engager
        self._sqs = sqs
        self._queue_url = queue_url
        self._scheduler = scheduler
        self._doorbells = doorbells

    def engage(
        self, activations: Sequence[Activation], conversions: Sequence[Conversion], deadline: int
    ) -> dict[str, dict[str, Any]]:
        """Return the rendered popups by activation id, the rest is recorded; one invocation for all of them."""
        answer = self._engager(msgspec.json.encode(Engage(list(activations), deadline, list(conversions))))
        return msgspec.json.decode(answer, type=Engaged).contents

    def queue(self, activations: Sequence[Activation]) -> None:
        """Send *activations* to the queue; raises `Unavailable` when it did not take them all."""
        for start in range(0, len(activations), BATCH):
            entries = [
                {"Id": str(n), "MessageBody": _body(activation)}
                for n, activation in enumerate(activations[start : start + BATCH])
            ]
            try:
                answer = retry_closed_connection(
                    partial(self._sqs.send_message_batch, QueueUrl=self._queue_url, Entries=entries)
                )
            except (BotoCoreError, ClientError) as error:
                raise Unavailable(f"deliveries queue: {type(error).__name__}", code="queue_unavailable") from error
            if answer.get("Failed"):
                raise Unavailable("deliveries queue refused a message", code="queue_unavailable")

    def ring(self, ring: Doorbell, now: int) -> None:
        """Have the Decider called with *ring* when it is due; raises `Unavailable` where that is not sure."""
        wait_s = max(0, -(-(ring.lost.due - now) // 1000))
        body = msgspec.json.encode(ring).decode()
        try:
            if wait_s <= LONGEST_HOP_S:
                message = {"MessageBody": _legible(body), "DelaySeconds": wait_s}
                retry_closed_connection(lambda: self._sqs.send_message(QueueUrl=self._doorbells.queue_url, **message))
            else:
                retry_closed_connection(lambda: self._schedule(ring, body))
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"doorbell: {type(error).__name__}", code="doorbell_unavailable") from error

    def silence(self, key: str) -> None:
        """Remove the schedule of *key*, if there is one: only tidiness, for what rings in vain does no harm."""
        with suppress(BotoCoreError, ClientError):
            self._scheduler().delete_schedule(Name=schedule_name(key), GroupName=self._doorbells.group)

    def _schedule(self, ring: Doorbell, body: str) -> None:
        at = datetime.fromtimestamp(-(-ring.lost.due // 1000), UTC)
        try:
            self._scheduler().create_schedule(
                Name=schedule_name(ring.key),
                GroupName=self._doorbells.group,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": self._doorbells.queue_arn,
                    "RoleArn": self._doorbells.role_arn,
                    "Input": _legible(body),
                    # By default it would try 185 times, a whole day long.
                    "RetryPolicy": {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 900},
                    "DeadLetterConfig": {"Arn": self._doorbells.dead_arn},
                },
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ConflictException":  # it hangs there already
                raise


def schedule_name(key: str) -> str:
    """Return the name of the schedule of a delayed activation: always the same, at most 64 characters."""
    return base64.b32encode(hashlib.blake2b(key.encode(), digest_size=20).digest()).decode().lower()


def _body(activation: Activation) -> str:
    return _legible(msgspec.json.encode(activation).decode())


def _legible(text: str) -> str:
    """Return JSON in characters that SQS takes: all of Unicode but U+FFFE and U+FFFF."""
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
