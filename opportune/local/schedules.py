"""Act as EventBridge's schedules: invoke a function at an interval, or send a message once."""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from botocore.exceptions import BotoCoreError, ClientError

from opportune.system.errors import LocalStackError
from shared.clock import Clock

_LOG = logging.getLogger("opportune.local.schedules")


class Schedule:
    """Invoke with *payload* every *every_s* seconds, one call at a time, until stopped.

    After a failed call the next one comes as planned, as on AWS. The function logs its own failures.
    """

    def __init__(self, invoke: Callable[[bytes], Any], payload: bytes, *, every_s: float) -> None:
        self._invoke = invoke
        self._payload = payload
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        """Start; the first call comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Stop without waiting for a call in progress. May be called twice."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._invoke(self._payload)
            except LocalStackError as error:  # no environment became free, or the stack is stopping
                _LOG.warning("a scheduled call was lost: %s", error.message)


class OneTime(NamedTuple):
    """The parts of a schedule that this stand-in uses.

    due: ms
    message: goes to the queue *queue_arn*, or to *dead_arn* if that fails
    """

    name: str
    due: int
    queue_arn: str
    message: str
    dead_arn: str | None


class OneTimeSchedules:
    """Runs the ``at(…)`` schedules of *group* whose target is an SQS queue; moto only stores them.

    scheduler, sqs: clients
    clock: of the functions

    A schedule that has run is deleted if its ActionAfterCompletion says so. A message that cannot be sent goes
    to the schedule's dead-letter queue, without the retries of AWS. As on AWS, a schedule may run twice, and
    its message cannot be recalled.
    """

    def __init__(self, scheduler: Any, sqs: Any, group: str, clock: Clock) -> None:
        self._scheduler = scheduler
        self._sqs = sqs
        self._group = group
        self._clock = clock
        # By name and time of the last change: a new schedule may reuse the name of an old one.
        self._known: dict[tuple[str, Any], OneTime | None] = {}

    def run_due(self) -> int:
        """Run all due schedules; return how many."""
        keys = set(self._list())
        self._known = {key: known for key, known in self._known.items() if key in keys}
        done = 0
        for key in sorted(keys):
            if key not in self._known:
                self._known[key] = self._read(key[0])
            schedule = self._known[key]
            if schedule is not None and schedule.due <= self._clock():
                self._run(schedule)
                self._known[key] = None
                done += 1
        return done

    def _list(self) -> Iterator[tuple[str, Any]]:
        for page in self._scheduler.get_paginator("list_schedules").paginate(GroupName=self._group):
            for each in page["Schedules"]:
                yield each["Name"], each["LastModificationDate"]

    def _read(self, name: str) -> OneTime | None:
        """Return a schedule; None if it is deleted, disabled or of a kind that is not supported here."""
        try:
            found = self._scheduler.get_schedule(GroupName=self._group, Name=name)
        except self._scheduler.exceptions.ResourceNotFoundException:
            return None
        if found["State"] != "ENABLED":
            return None
        try:
            due = at_ms(found["ScheduleExpression"], found.get("ScheduleExpressionTimezone") or "UTC")
        except ValueError:
            _LOG.warning("schedule %s has an unsupported expression: %s", name, found["ScheduleExpression"])
            return None
        target = found["Target"]
        dead_arn = target.get("DeadLetterConfig", {}).get("Arn")
        return OneTime(name, due, target["Arn"], target.get("Input", "{}"), dead_arn)

    def _run(self, schedule: OneTime) -> None:
        try:
            found = self._scheduler.get_schedule(GroupName=self._group, Name=schedule.name)
        except self._scheduler.exceptions.ResourceNotFoundException:
            return
        try:
            self._send(schedule.queue_arn, schedule.message)
        except ClientError as error:
            _LOG.warning("schedule %s failed: %s", schedule.name, error)
            if schedule.dead_arn:
                self._send(schedule.dead_arn, schedule.message)
        if found.get("ActionAfterCompletion") == "DELETE":
            try:
                self._scheduler.delete_schedule(GroupName=self._group, Name=schedule.name)
            except self._scheduler.exceptions.ResourceNotFoundException:
                _LOG.debug("schedule %s was already deleted", schedule.name)

    def _send(self, arn: str, message: str) -> None:
        url = self._sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        self._sqs.send_message(QueueUrl=url, MessageBody=message)

    def __call__(self, _: bytes) -> None:
        """Run what is due, as the call of a `Schedule`. If the stand-in does not respond, the next call retries."""
        try:
            self.run_due()
        except (BotoCoreError, ClientError) as error:
            _LOG.warning("cannot read the schedules: %s", error)


def at_ms(expression: str, zone: str = "UTC") -> int:
    """Return the time of ``at(yyyy-mm-ddThh:mm:ss)`` in ms since the epoch; raise `ValueError` for anything else."""
    if not (expression.startswith("at(") and expression.endswith(")")):
        raise ValueError("not a one-time expression")
    try:
        local = datetime.strptime(expression[3:-1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=ZoneInfo(zone))
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"no time zone {zone!r}") from error
    return int(local.timestamp() * 1000)
