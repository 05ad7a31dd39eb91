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
        self.logged: list[str] = []
        self.doorbells = AwsDoorbells(self.sqs, lambda: self.scheduler, targets, self._log_warning)

    def _log_warning(self, _: str, extra: dict[str, str]) -> None:
        self.logged.append(extra["code"])

    def waiting(self) -> tuple[str, str]:
        """Return how many messages the queue has, and how many of them are delayed."""
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        return found["ApproximateNumberOfMessages"], found["ApproximateNumberOfMessagesDelayed"]

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
    adapter.doorbells.schedule_doorbell(a_doorbell(1), NOW + 1, NOW)
    waiting = adapter.sqs.get_queue_attributes(QueueUrl=adapter.url, AttributeNames=["All"])["Attributes"]
    assert (waiting["ApproximateNumberOfMessagesDelayed"], adapter.schedules()) == ("1", [])
    adapter.doorbells.schedule_doorbell(a_doorbell(0), NOW, NOW)
    (message,) = adapter.sqs.receive_message(QueueUrl=adapter.url)["Messages"]
    assert msgspec.json.decode(message["Body"], type=Doorbell) == a_doorbell(0)


def test_a_long_delay_is_one_schedule(adapter: Adapter) -> None:
    """Over 15 minutes: a schedule for the second after it is due, deleted afterwards. Creating it twice makes one."""
    ring = a_doorbell(15 * MINUTE + 1)
    for _ in range(2):
        adapter.doorbells.schedule_doorbell(ring, ring.lost.due, NOW)
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
    adapter.doorbells.schedule_doorbell(ring, ring.lost.due, NOW)
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
        adapter.doorbells._log_warning,
    )
    with pytest.raises(Unavailable) as caught:
        gone.schedule_doorbell(a_doorbell(wait_ms), NOW + wait_ms, NOW)
    assert caught.value.code == "doorbell_unavailable"
    gone.cancel_doorbell("key")


def test_a_missing_group_is_a_failure_and_not_a_conflict(adapter: Adapter) -> None:
    """Only an existing schedule counts as created. The queue takes the doorbell for the first 15 minutes."""
    adapter.scheduler.delete_schedule_group(Name=GROUP)
    with pytest.raises(ClientError):
        adapter.scheduler.get_schedule_group(Name=GROUP)
    adapter.doorbells.schedule_doorbell(a_doorbell(60 * MINUTE), NOW + 60 * MINUTE, NOW)
    assert (adapter.waiting(), adapter.logged) == (("0", "1"), ["ClientError"])


def test_a_missing_queue_leads_to_a_schedule(adapter: Adapter) -> None:
    """A short delay takes a schedule then, in a minute at the soonest: a schedule in the past would never fire."""
    adapter.sqs.delete_queue(QueueUrl=adapter.url)
    for wait_ms, at in ((-MINUTE, NOW + MINUTE), (5 * MINUTE, NOW + 5 * MINUTE)):
        ring = msgspec.structs.replace(a_doorbell(wait_ms), key=f"key {wait_ms}")
        adapter.doorbells.schedule_doorbell(ring, ring.lost.due, NOW)
        found = adapter.scheduler.get_schedule(Name=schedule_name(ring.key), GroupName=GROUP)
        assert found["ScheduleExpression"] == f"at({datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%S})"
        assert msgspec.json.decode(found["Target"]["Input"], type=Doorbell) == ring
    assert len(adapter.logged) == 2


def test_a_doorbell_that_rings_again_has_a_schedule_of_its_own(adapter: Adapter) -> None:
    """The schedule that has just fired may still exist, and must not count as the new one."""
    ring = a_doorbell(60 * MINUTE)
    adapter.doorbells.schedule_doorbell(ring, ring.lost.due, NOW)
    for _ in range(2):
        again = msgspec.structs.replace(ring, rings=1)
        adapter.doorbells.schedule_doorbell(again, ring.lost.due, NOW)
    assert sorted(
        msgspec.json.decode(each["Target"]["Input"], type=Doorbell).rings for each in adapter.schedules()
    ) == [
        0,
        1,
    ]


def test_a_doorbell_of_the_version_before_is_read() -> None:
    """Schedules that were made before a deploy carry no count of rings."""
    old = msgspec.to_builtins(a_doorbell(MINUTE))
    del old["rings"]
    assert msgspec.convert(old, Doorbell).rings == 0
