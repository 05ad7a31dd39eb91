"""Doorbells: calls of the Decider at the time when a delayed activation is due.

A short delay is one hop through a queue, a long one is a one-time schedule. A doorbell only says when to look at the
state store. If it is lost, late, doubled or stale, no harm is done: a wake looks every minute.
"""

import base64
import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from decider.sqs_text import sqs_text
from shared.contracts import Doorbell
from shared.errors import Unavailable
from shared.invoke import retry_closed_connection

MAX_HOP_S = 900  # the longest DelaySeconds


class DoorbellTargets(NamedTuple):
    """The queue of doorbells (URL and ARN), the group of schedules, their role and their dead-letter queue."""

    queue_url: str
    queue_arn: str
    group: str
    role_arn: str
    dead_arn: str


class AwsDoorbells:
    """`Doorbells` over SQS and EventBridge Scheduler.

    *scheduler* makes the client of EventBridge Scheduler: only long delays need one.
    """

    def __init__(self, sqs: Any, scheduler: Callable[[], Any], targets: DoorbellTargets) -> None:
        self._sqs = sqs
        self._scheduler = scheduler
        self._targets = targets

    def schedule_doorbell(self, doorbell: Doorbell, now: int) -> None:
        """Have the Decider called with *doorbell* when it is due; raises `Unavailable` if that is not certain."""
        wait_s = max(0, -(-(doorbell.lost.due - now) // 1000))
        body = sqs_text(msgspec.json.encode(doorbell))
        try:
            if wait_s <= MAX_HOP_S:
                message = {"MessageBody": body, "DelaySeconds": wait_s}
                retry_closed_connection(lambda: self._sqs.send_message(QueueUrl=self._targets.queue_url, **message))
            else:
                retry_closed_connection(lambda: self._create_schedule(doorbell, body))
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"doorbell: {type(error).__name__}", code="doorbell_unavailable") from error

    def cancel_doorbell(self, key: str) -> None:
        """Delete the schedule of *key*, if there is one. A failure does not matter: a stale doorbell does nothing."""
        with suppress(BotoCoreError, ClientError):
            self._scheduler().delete_schedule(Name=schedule_name(key), GroupName=self._targets.group)

    def _create_schedule(self, doorbell: Doorbell, body: str) -> None:
        at = datetime.fromtimestamp(-(-doorbell.lost.due // 1000), UTC)
        try:
            self._scheduler().create_schedule(
                Name=schedule_name(doorbell.key),
                GroupName=self._targets.group,
                ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
                FlexibleTimeWindow={"Mode": "OFF"},
                ActionAfterCompletion="DELETE",
                Target={
                    "Arn": self._targets.queue_arn,
                    "RoleArn": self._targets.role_arn,
                    "Input": body,
                    # The default is 185 attempts over a whole day.
                    "RetryPolicy": {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 900},
                    "DeadLetterConfig": {"Arn": self._targets.dead_arn},
                },
            )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ConflictException":  # it exists already
                raise


def schedule_name(key: str) -> str:
    """Return the name of a delayed activation's schedule: always the same, at most 64 characters."""
    return base64.b32encode(hashlib.blake2b(key.encode(), digest_size=20).digest()).decode().lower()
