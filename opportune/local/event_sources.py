"""All that calls functions without a request from outside: queues, schedules, and what SES says of mails."""

import time
from collections.abc import Mapping

from opportune.local import aws
from opportune.local.environments import Pool
from opportune.local.lambda_endpoint import LambdaEndpoint
from opportune.local.mail_events import MailEvents
from opportune.local.queues import QueueMapping
from opportune.local.schedules import OneTimeSchedules, Schedule
from opportune.system.errors import LocalStackError
from shared.clock import Clock
from shared.settings import DECIDER, ENGAGER

WAKE, SWEEP = b'{"type": "wake"}', b'{"type": "sweep"}'


class EventSources:
    """Queues and schedules of *made* in front of *pools*; a function that is not among them is not called.

    *every_s*: seconds of the wall clock between wakes, sweeps and looks at the one-time schedules (a minute on
    AWS); *clock*: of the functions. Asynchronous calls go through *calls*, which `drain` waits for too.
    """

    def __init__(
        self,
        made: aws.Resources,
        pools: Mapping[str, Pool],
        calls: LambdaEndpoint,
        *,
        aws_url: str,
        clock: Clock,
        every_s: float,
    ) -> None:
        self._calls = calls
        self._queues: list[QueueMapping] = []
        self._schedules: list[Schedule] = []
        sqs = aws.client("sqs", aws_url)
        # In the order in which work flows: a doorbell leads to a delivery.
        if DECIDER in pools:
            decider = pools[DECIDER].invoke
            self._queues.append(QueueMapping(sqs, made.doorbells_url, made.doorbells_arn, decider))
            # Where the clock is fast, this also makes up for delays that a queue can only keep in whole seconds:
            # the agenda in Redis decides what is due, doorbells only tell it sooner.
            self._schedules.append(Schedule(decider, WAKE, every_s=every_s))
        if ENGAGER in pools:
            engager = pools[ENGAGER].invoke
            self._queues.append(QueueMapping(sqs, made.queue_url, made.queue_arn, engager))
            self._schedules.append(Schedule(engager, SWEEP, every_s=every_s))
            self._schedules.append(Schedule(MailEvents(aws_url, engager), b"", every_s=every_s))
        one_time = OneTimeSchedules(aws.client("scheduler", aws_url), sqs, made.schedule_group, clock)
        self._schedules.append(Schedule(one_time, b"", every_s=every_s))

    def start(self) -> None:
        """Begin to poll and to count the seconds."""
        for queue in self._queues:
            queue.start()
        for schedule in self._schedules:
            schedule.start()

    def stop(self) -> None:
        """Stop; does not wait for what is under way. May be called twice."""
        for schedule in self._schedules:
            schedule.stop()
        for queue in self._queues:
            queue.stop()

    def join(self, timeout_s: float) -> None:
        """Wait until the pollers ended, for *timeout_s* seconds at most."""
        deadline = time.monotonic() + timeout_s
        for queue in self._queues:
            queue.join(max(0.0, deadline - time.monotonic()))

    def drain(self, timeout_s: float) -> None:
        """Wait until no message is visible or in work and no asynchronous call runs; raise `LocalStackError` else."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._calls.drain(max(0.0, deadline - time.monotonic())):
                raise LocalStackError(f"asynchronous invocations still ran after {timeout_s:g} s")
            for queue in self._queues:
                queue.drain(max(0.0, deadline - time.monotonic()))
            # What was done last may have led to more.
            if all(queue.empty() for queue in self._queues) and self._calls.drain(0.0):
                return
