"""One-time schedules: each runs once, when it is due by the functions' clock, and sends to its queue."""

from datetime import UTC, datetime
from typing import Any

import pytest

from opportune.local import aws as local_aws
from opportune.local.schedules import OneTimeSchedules, at_ms
from tests.conftest import Aws

NOON = 1_798_200_000_000  # 2026-12-25 12:00:00 UTC
MINUTE = 60_000
# More schedules than the stand-in lists on one page.
MANY = 120


class Desk:
    """A group of schedules, their queue, and a clock that tests set."""

    def __init__(self, aws: Aws) -> None:
        self.made = local_aws.create_resources(aws.url)
        self.scheduler = aws.client("scheduler")
        self.sqs = aws.client("sqs")
        self.now = NOON
        self.schedules = OneTimeSchedules(self.scheduler, self.sqs, self.made.schedule_group, lambda: self.now)

    def create(self, name: str, due: int, **options: Any) -> None:
        """Create a schedule that is due at *due* (ms)."""
        target = {
            "Arn": self.made.doorbells_arn,
            "RoleArn": local_aws.SCHEDULE_ROLE_ARN,
            "Input": f"ring {name}",
            "DeadLetterConfig": {"Arn": self.made.dead_schedules_arn},
        }
        at = datetime.fromtimestamp(due / 1000, UTC)
        given = {
            "Name": name,
            "GroupName": self.made.schedule_group,
            "ScheduleExpression": f"at({at:%Y-%m-%dT%H:%M:%S})",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": target,
        }
        self.scheduler.create_schedule(**given | options)

    def names(self) -> list[str]:
        """Return the names of the existing schedules."""
        pages = self.scheduler.get_paginator("list_schedules").paginate(GroupName=self.made.schedule_group)
        return [each["Name"] for page in pages for each in page["Schedules"]]

    def received(self, url: str | None = None) -> list[str]:
        """Receive and delete all messages of a queue, by default the doorbells; return their bodies."""
        bodies: list[str] = []
        queue = url or self.made.doorbells_url
        while messages := self.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                bodies.append(message["Body"])
                self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return bodies


@pytest.fixture(name="desk")
def _desk(aws: Aws) -> Desk:
    return Desk(aws)


def test_a_due_schedule_sends_and_is_deleted(desk: Desk) -> None:
    """A schedule does not run early. When it is due, its input is sent once and it is deleted."""
    desk.create("soon", NOON + MINUTE)
    desk.create("later", NOON + 2 * MINUTE)
    desk.now = NOON + MINUTE - 1
    assert desk.schedules.run_due() == 0
    assert desk.received() == []
    desk.now = NOON + MINUTE
    assert desk.schedules.run_due() == 1
    assert desk.received() == ["ring soon"]
    assert desk.names() == ["later"]
    assert desk.schedules.run_due() == 0
    assert desk.received() == []


def test_a_past_schedule_runs_immediately(desk: Desk) -> None:
    """A schedule that was already past when it was created runs late."""
    desk.create("late", NOON - 24 * 60 * MINUTE)
    assert desk.schedules.run_due() == 1
    assert desk.received() == ["ring late"]


def test_a_time_zone_is_kept(desk: Desk) -> None:
    """13:00 in Berlin is 12:00 UTC in winter."""
    berlin = {"ScheduleExpression": "at(2026-12-25T13:00:00)", "ScheduleExpressionTimezone": "Europe/Berlin"}
    desk.create("berlin", 0, **berlin)
    desk.now = NOON - 1
    assert desk.schedules.run_due() == 0
    desk.now = NOON
    assert desk.schedules.run_due() == 1


def test_a_deleted_schedule_does_not_run(desk: Desk) -> None:
    """A deleted schedule does not run, even if it was read before."""
    desk.create("cancelled", NOON + MINUTE)
    desk.schedules.run_due()
    desk.scheduler.delete_schedule(GroupName=desk.made.schedule_group, Name="cancelled")
    desk.now = NOON + MINUTE
    assert desk.schedules.run_due() == 0
    assert desk.received() == []


def test_a_disabled_schedule_does_not_run(desk: Desk) -> None:
    """A disabled schedule stays."""
    desk.create("off", NOON, State="DISABLED")
    assert desk.schedules.run_due() == 0
    assert desk.received() == []
    assert desk.names() == ["off"]


def test_a_schedule_without_the_delete_action_stays_and_runs_once(desk: Desk) -> None:
    """AWS keeps a schedule after its run unless ActionAfterCompletion says DELETE."""
    desk.create("kept", NOON, ActionAfterCompletion="NONE")
    assert [desk.schedules.run_due(), desk.schedules.run_due()] == [1, 0]
    assert desk.received() == ["ring kept"]
    assert desk.names() == ["kept"]


def test_a_new_schedule_with_an_old_name_runs(desk: Desk) -> None:
    """A schedule that is created again under the same name runs again."""
    desk.create("again", NOON)
    desk.schedules.run_due()
    desk.create("again", NOON + MINUTE)
    desk.now = NOON + MINUTE
    assert desk.schedules.run_due() == 1
    assert desk.received() == ["ring again"] * 2


def test_a_failed_message_goes_to_the_dead_letter_queue(desk: Desk) -> None:
    """If the queue is missing, the input goes to the dead-letter queue, and other schedules run."""
    gone = {
        "Arn": local_aws.queue_arn("gone"),
        "RoleArn": local_aws.SCHEDULE_ROLE_ARN,
        "Input": "lost",
        "DeadLetterConfig": {"Arn": desk.made.dead_schedules_arn},
    }
    desk.create("a-gone", NOON, Target=gone)
    desk.create("b-fine", NOON)
    assert desk.schedules.run_due() == 2
    assert desk.received(desk.made.dead_schedules_url) == ["lost"]
    assert desk.received() == ["ring b-fine"]
    assert desk.names() == []


def test_an_invalid_schedule_does_not_stop_others(desk: Desk) -> None:
    """One invalid expression, which AWS would refuse, does not stop the others."""
    desk.create("a-nonsense", NOON, ScheduleExpression="at(nonsense)")
    desk.create("b-fine", NOON)
    assert desk.schedules.run_due() == 1
    assert desk.received() == ["ring b-fine"]


def test_schedules_on_all_pages_run(desk: Desk) -> None:
    """Schedules on all pages of the list run."""
    for number in range(MANY):
        desk.create(f"n-{number:03}", NOON)
    assert desk.schedules.run_due() == MANY
    assert sorted(desk.received()) == [f"ring n-{number:03}" for number in range(MANY)]


def test_an_unreachable_stand_in_is_retried(desk: Desk) -> None:
    """When the stand-in does not respond, one check fails and the next one works."""
    away = local_aws.client("scheduler", "http://127.0.0.1:9")
    OneTimeSchedules(away, desk.sqs, desk.made.schedule_group, lambda: NOON)(b"")
    desk.create("soon", NOON)
    desk.schedules(b"")
    assert desk.received() == ["ring soon"]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [("at(2026-12-25T12:00:00)", "UTC"), ("at(2026-12-25T07:00:00)", "America/New_York")],
)
def test_expressions_are_times(expression: str, zone: str) -> None:
    """``at(…)`` is a time in its time zone."""
    assert at_ms(expression, zone) == NOON


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("at(2026-12-25)", "UTC"),
        ("rate(1 minute)", "UTC"),
        ("at(2026-12-25T12:00:00", "UTC"),
        ("at(2026-12-25T12:00:00)", "Nowhere/Else"),
    ],
)
def test_what_aws_would_refuse_is_an_error(expression: str, zone: str) -> None:
    """Other expressions and unknown time zones are errors."""
    with pytest.raises(ValueError, match=r".+"):
        at_ms(expression, zone)
