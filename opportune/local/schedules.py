"""What EventBridge's schedules do: invoke a function again and again, or send a message once."""

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

    A failed call is the function's to log; the next one comes all the same, as on AWS.
    """

    def __init__(self, invoke: Callable[[bytes], Any], payload: bytes, *, every_s: float) -> None:
        self._invoke = invoke
        self._payload = payload
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ring, name="schedule", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after one interval."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; does not wait for a call under way. May be called twice."""
        self._stopping.set()

    def _ring(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._invoke(self._payload)
            except LocalStackError as error:  # no environment of the function got free, or the stack stops
                _LOG.warning("a scheduled call was lost: %s", error.message)


class OneTime(NamedTuple):
    """A schedule as far as it is carried out here: when it is due, what goes to which queue."""

    name: str
    due: int
    queue_arn: str
    message: str
    dead_arn: str | None


class OneTimeSchedules:
    """Carries out the ``at(…)`` schedules of *group* whose target is an SQS queue; the stand-in only stores them.

    *scheduler*, *sqs*: clients; *clock*: of the functions. A schedule that was carried out is deleted if it says so
    (ActionAfterCompletion). What cannot be sent goes to the schedule's dead-letter queue, without the many tries
    of AWS. As there, a schedule may be carried out twice, and cannot be recalled once its message was sent.
    """

    def __init__(self, scheduler: Any, sqs: Any, group: str, clock: Clock) -> None:
        self._scheduler = scheduler
        self._sqs = sqs
        self._group = group
        self._clock = clock
        # By name and time of the last change: what was made anew under an old name is another schedule.
        self._known: dict[tuple[str, Any], OneTime | None] = {}

    def look(self) -> int:
        """Carry out what is due and return how many that were."""
        keys = set(self._listed())
        self._known = {key: known for key, known in self._known.items() if key in keys}
        done = 0
        for key in sorted(keys):
            if key not in self._known:
                self._known[key] = self._read(key[0])
            schedule = self._known[key]
            if schedule is not None and schedule.due <= self._clock():
                self._carry_out(schedule)
                self._known[key] = None
                done += 1
        return done

    def _listed(self) -> Iterator[tuple[str, Any]]:
        for page in self._scheduler.get_paginator("list_schedules").paginate(GroupName=self._group):
            for each in page["Schedules"]:
                yield each["Name"], each["LastModificationDate"]

    def _read(self, name: str) -> OneTime | None:
        """Return a schedule; None where it is gone, switched off, or nothing that is carried out here."""
        try:
            found = self._scheduler.get_schedule(GroupName=self._group, Name=name)
        except self._scheduler.exceptions.ResourceNotFoundException:
            return None
        if found["State"] != "ENABLED":
            return None
        try:
            due = at_ms(found["ScheduleExpression"], found.get("ScheduleExpressionTimezone") or "UTC")
        except ValueError:
            _LOG.warning("schedule %s cannot be read: %s", name, found["ScheduleExpression"])
            return None
        target = found["Target"]
        dead_arn = target.get("DeadLetterConfig", {}).get("Arn")
        return OneTime(name, due, target["Arn"], target.get("Input", "{}"), dead_arn)

    def _carry_out(self, schedule: OneTime) -> None:
        try:
            found = self._scheduler.get_schedule(GroupName=self._group, Name=schedule.name)
        except self._scheduler.exceptions.ResourceNotFoundException:
            return
        try:
            self._send(schedule.queue_arn, schedule.message)
        except ClientError as error:
            _LOG.warning("schedule %s cannot be carried out: %s", schedule.name, error)
            if schedule.dead_arn:
                self._send(schedule.dead_arn, schedule.message)
        if found.get("ActionAfterCompletion") == "DELETE":
            try:
                self._scheduler.delete_schedule(GroupName=self._group, Name=schedule.name)
            except self._scheduler.exceptions.ResourceNotFoundException:
                _LOG.debug("schedule %s was deleted meanwhile", schedule.name)

    def _send(self, arn: str, message: str) -> None:
        url = self._sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        self._sqs.send_message(QueueUrl=url, MessageBody=message)

    def __call__(self, _: bytes) -> None:
        """Look, as the call of a `Schedule`; a stand-in that does not answer is asked again the next time."""
        try:
            self.look()
        except (BotoCoreError, ClientError) as error:
            _LOG.warning("the schedules cannot be looked at: %s", error)


def at_ms(expression: str, zone: str = "UTC") -> int:
    """Return when ``at(yyyy-mm-ddThh:mm:ss)`` is due, in ms since the epoch; `ValueError` for all else."""
    if not (expression.startswith("at(") and expression.endswith(")")):
        raise ValueError("not a one-time expression")
    try:
        local = datetime.strptime(expression[3:-1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=ZoneInfo(zone))
    except ZoneInfoNotFoundError as error:
        raise ValueError(f"no time zone {zone!r}") from error
    return int(local.timestamp() * 1000)
