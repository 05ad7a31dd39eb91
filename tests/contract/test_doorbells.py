"""Doorbells as the Decider schedules them: the calls to SQS and EventBridge Scheduler."""

from datetime import UTC, datetime
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from decider.doorbells import AwsDoorbells, DoorbellTargets, schedule_name
from shared.contracts import Activation, Doorbell
from shared.errors import Unavailable
from tests.conftest import Aws

NOW = 1_790_000_000_000
MINUTE = 60_000
GROUP = "opportune"


class Adapter:
    """A queue, a group of schedules, and the adapter that uses them."""

    def __init__(self, aws: Aws) -> None:
        self.sqs, self.scheduler = aws.client("sqs"), aws.client("scheduler")
        self.url = self.sqs.create_queue(QueueName="doorbells")["QueueUrl"]
        self.scheduler.create_schedule_group(Name=GROUP)
        arn = "arn:aws:sqs:eu-central-1:123456789012:doorbells"
        targets = DoorbellTargets(self.url, arn, GROUP, "arn:aws:iam::123456789012:role/scheduler", f"{arn}-dead")
        self.doorbells = AwsDoorbells(self.sqs, lambda: self.scheduler, targets)

    def schedules(self) -> list[dict[str, Any]]:
        """Return all schedules."""
        names = [each["Name"] for each in self.scheduler.list_schedules(GroupName=GROUP)["Schedules"]]
        return [self.scheduler.get_schedule(Name=name, GroupName=GROUP) for name in names]


@pytest.fixture(name="adapter")
def _adapter(aws: Aws) -> Adapter:
    return Adapter(aws)


def a_doorbell(wait_ms: int) -> Doorbell:
    """Return a doorbell for an activation that is due in *wait_ms*."""
    lost = Activation(
        "id", "demo", "anna", "cart", 1, "email", NOW, "add", "m\uffff", suppressed="state_lost", due=NOW + wait_ms
    )
    return Doorbell(key='["demo","anna","key","","ab"]', state_epoch=str(NOW), lost=lost)


def test_a_short_delay_is_one_hop_through_the_queue(adapter: Adapter) -> None:
    """Up to 15 minutes: a message with the delay in seconds, rounded up, and no schedule."""
    adapter.doorbells.schedule_doorbell(a_doorbell(1), NOW)
    waiting = adapter.sqs.get_queue_attributes(QueueUrl=adapter.url, AttributeNames=["All"])["Attributes"]
    assert (waiting["ApproximateNumberOfMessagesDelayed"], adapter.schedules()) == ("1", [])
    adapter.doorbells.schedule_doorbell(a_doorbell(0), NOW)
    (message,) = adapter.sqs.receive_message(QueueUrl=adapter.url)["Messages"]
    assert msgspec.json.decode(message["Body"], type=Doorbell) == a_doorbell(0)


def test_a_long_delay_is_one_schedule(adapter: Adapter) -> None:
    """Over 15 minutes: a schedule for the second after it is due, deleted afterwards. Creating it twice makes one."""
    ring = a_doorbell(15 * MINUTE + 1)
    for _ in range(2):
        adapter.doorbells.schedule_doorbell(ring, NOW)
    (schedule,) = adapter.schedules()
    due = datetime.fromtimestamp((NOW + 15 * MINUTE + 1000) / 1000, UTC)
    assert schedule["ScheduleExpression"] == f"at({due:%Y-%m-%dT%H:%M:%S})"
    assert schedule["ActionAfterCompletion"] == "DELETE"
    assert schedule["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 900}
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith("doorbells-dead")
    assert msgspec.json.decode(schedule["Target"]["Input"], type=Doorbell) == ring


def test_cancelling_deletes_the_schedule_if_there_is_one(adapter: Adapter) -> None:
    """A cancelled activation leaves no schedule. The second time there is nothing to delete."""
    ring = a_doorbell(60 * MINUTE)
    adapter.doorbells.schedule_doorbell(ring, NOW)
    for _ in range(2):
        adapter.doorbells.cancel_doorbell(ring.key)
    assert adapter.schedules() == []


def test_names_are_what_the_scheduler_takes() -> None:
    """At most 64 allowed characters, the same for the same activation, different for another."""
    name = schedule_name("ä" * 500)
    assert name.isalnum()
    assert len(name) <= 64
    assert name == schedule_name("ä" * 500) != schedule_name("ä" * 499)


@pytest.mark.parametrize("wait_ms", [MINUTE, 60 * MINUTE])
def test_a_doorbell_that_cannot_be_scheduled_is_an_error(adapter: Adapter, wait_ms: int) -> None:
    """Neither queue nor scheduler responds: one `Unavailable`, without retries."""
    once = Config(connect_timeout=0.1, read_timeout=0.1, retries={"total_max_attempts": 1})
    session = botocore.session.get_session()
    nowhere: dict[str, Any] = {"endpoint_url": "http://127.0.0.1:9", "region_name": "eu-central-1", "config": once}
    keys: dict[str, Any] = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    gone = AwsDoorbells(
        session.create_client("sqs", **nowhere, **keys),
        lambda: session.create_client("scheduler", **nowhere, **keys),
        DoorbellTargets(adapter.url, "arn:aws:sqs:eu-central-1:123456789012:doorbells", GROUP, "r" * 30, "d" * 30),
    )
    with pytest.raises(Unavailable) as caught:
        gone.schedule_doorbell(a_doorbell(wait_ms), NOW)
    assert caught.value.code == "doorbell_unavailable"
    gone.cancel_doorbell("key")


def test_a_missing_group_is_an_error_and_not_a_conflict(adapter: Adapter) -> None:
    """Only an existing schedule counts as created."""
    adapter.scheduler.delete_schedule_group(Name=GROUP)
    with pytest.raises(ClientError):
        adapter.scheduler.get_schedule_group(Name=GROUP)
    with pytest.raises(Unavailable):
        adapter.doorbells.schedule_doorbell(a_doorbell(60 * MINUTE), NOW)
