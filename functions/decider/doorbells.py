"""Doorbells: calls of the Decider at the time when a delayed activation is due.

A short delay is one hop through a queue, a long one is a one-time schedule. If one of the two fails, the other takes
the doorbell. A doorbell that the queue takes too early is scheduled again when it rings.

A doorbell says when to look at the state store, and carries the activation in case the store has lost it. If it is
late, doubled or stale, no harm is done: a wake looks every minute. If it is lost, only the store knows the activation.
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
MINUTE_MS = 60_000


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

    def __init__(
        self, sqs: Any, scheduler: Callable[[], Any], targets: DoorbellTargets, log_warning: Callable[..., None]
    ) -> None:
        self._sqs = sqs
        self._scheduler = scheduler
        self._targets = targets
        self._log_warning = log_warning

    def schedule_doorbell(self, doorbell: Doorbell, at: int, now: int) -> None:
        """Have the Decider called with *doorbell* at *at* (ms); raises `Unavailable` if that is not certain."""
        wait_s = max(0, -(-(at - now) // 1000))
        body = sqs_text(msgspec.json.encode(doorbell))
        name = schedule_name(f"{doorbell.key}{doorbell.rings}" if doorbell.rings else doorbell.key)
        # A schedule is late by up to a minute, and a hop through the queue ends after 15 minutes.
        soonest = max(at, now + MINUTE_MS)
        ways = [lambda: self._send(body, min(wait_s, MAX_HOP_S)), lambda: self._create_schedule(name, soonest, body)]
        if wait_s > MAX_HOP_S:
            ways.reverse()
        first, second = ways
        try:
            retry_closed_connection(first)
        except (BotoCoreError, ClientError) as error:
            self._log_warning("a doorbell takes the other way", extra={"code": type(error).__name__})
        else:
            return
        try:
            retry_closed_connection(second)
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"doorbell: {type(error).__name__}", code="doorbell_unavailable") from error

    def cancel_doorbell(self, key: str) -> None:
        """Delete the schedule of *key*, if there is one. A failure does not matter: a stale doorbell does nothing."""
        with suppress(BotoCoreError, ClientError):
            self._scheduler().delete_schedule(Name=schedule_name(key), GroupName=self._targets.group)

    def _send(self, body: str, wait_s: int) -> None:
        self._sqs.send_message(QueueUrl=self._targets.queue_url, MessageBody=body, DelaySeconds=wait_s)

    def _create_schedule(self, name: str, at: int, body: str) -> None:
        try:
            self._scheduler().create_schedule(
                Name=name,
                GroupName=self._targets.group,
                ScheduleExpression=f"at({datetime.fromtimestamp(-(-at // 1000), UTC):%Y-%m-%dT%H:%M:%S})",
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
