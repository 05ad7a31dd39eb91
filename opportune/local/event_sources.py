"""Everything that invokes functions without an HTTP request: queues, schedules, and SES events."""

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
    """The queues and schedules that invoke the functions in *pools*.

    made: the queues and the schedule group
    calls: `drain` also waits for its asynchronous invocations
    clock: of the functions
    every_s: wall-clock seconds between wakes, sweeps and checks of the one-time schedules (a minute on AWS)
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
        # The order in which work flows: a doorbell leads to a delivery.
        if DECIDER in pools:
            decider = pools[DECIDER].invoke
            self._queues.append(QueueMapping(sqs, made.doorbells_url, made.doorbells_arn, decider))
            # With a fast clock, the wakes also compensate for queue delays, which are whole seconds. The timers in
            # Redis decide what is due; a doorbell only speeds it up.
            self._schedules.append(Schedule(decider, WAKE, every_s=every_s))
        if ENGAGER in pools:
            engager = pools[ENGAGER].invoke
            self._queues.append(QueueMapping(sqs, made.queue_url, made.queue_arn, engager))
            self._schedules.append(Schedule(engager, SWEEP, every_s=every_s))
            self._schedules.append(Schedule(MailEvents(aws_url, engager), b"", every_s=every_s))
        one_time = OneTimeSchedules(aws.client("scheduler", aws_url), sqs, made.schedule_group, clock)
        self._schedules.append(Schedule(one_time, b"", every_s=every_s))

    def start(self) -> None:
        """Start polling, and start the schedules."""
        for queue in self._queues:
            queue.start()
        for schedule in self._schedules:
            schedule.start()

    def stop(self) -> None:
        """Stop without waiting for work in progress. May be called twice."""
        for schedule in self._schedules:
            schedule.stop()
        for queue in self._queues:
            queue.stop()

    def join(self, timeout_s: float) -> None:
        """Wait until the pollers have ended, at most *timeout_s* seconds."""
        deadline = time.monotonic() + timeout_s
        for queue in self._queues:
            queue.join(max(0.0, deadline - time.monotonic()))

    def drain(self, timeout_s: float) -> None:
        """Wait until no message is visible or in progress and no asynchronous call runs.

        Raise `LocalStackError` after *timeout_s* seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._calls.drain(max(0.0, deadline - time.monotonic())):
                raise LocalStackError(f"asynchronous invocations still ran after {timeout_s:g} s")
            for queue in self._queues:
                queue.drain(max(0.0, deadline - time.monotonic()))
            # The work that finished last may have caused more.
            if all(queue.empty() for queue in self._queues) and self._calls.drain(0.0):
                return
