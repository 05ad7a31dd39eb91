"""Erase a user everywhere, in passes, until a pass finds nothing.

    Engager   tombstone, MongoDB      from now on nothing is sent to the user
    Decider   row, timers, schedules
    queues    the user's dead letters

SES reports name activations, not users. So the ids of the user's activations are read before their rows lose the name.

An event or a delivery that is in progress can leave traces after a pass. A second pass runs once these have ended, and
further passes run while the site still sends events of the user. Doorbells hidden in their queue cannot be deleted.
The tombstone stops what they carry, and they are gone within half an hour.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from pymongo.database import Database

from opportune.operations import deliveries
from opportune.system.functions import Queues, ask
from shared.contracts import ForgetUser
from shared.errors import Unavailable
from shared.invoke import Invoke
from shared.mongodb import Document, translate_errors

TOMBSTONE = "mongodb.tombstone"
MAX_PASSES = 4
SETTLE_S = 6.0  # longer than the 5 s that a Gateway waits for the Decider
HIDE_S = 120
MAX_MESSAGES = 120_000  # SQS allows that many messages in flight


class ForgetPorts(NamedTuple):
    """What forgetting calls.

    ``dead``: the dead-letter queues.
    ``activations``: return the ids of a user's activations, given site and user.
    """

    decider: Invoke
    engager: Invoke
    dead: Queues
    activations: Callable[[str, str], Collection[str]]
    sleep: Callable[[float], None] = time.sleep


class ForgetReceipt(msgspec.Struct):
    """The number of erased items by store, for each pass. ``done``: the last pass found nothing."""

    site: str
    passes: list[dict[str, int]]
    done: bool

    @property
    def found(self) -> bool:
        """Return whether anything of the user was stored. A tombstone alone does not count."""
        return any(count for name, count in self.totals.items() if name != TOMBSTONE)

    @property
    def is_new(self) -> bool:
        """Return whether this is the first request to forget the user."""
        return bool(self.totals.get(TOMBSTONE))

    @property
    def totals(self) -> dict[str, int]:
        """Return the totals of all passes."""
        names = dict.fromkeys(name for each in self.passes for name in each)
        return {name: sum(each.get(name, 0) for each in self.passes) for name in names}


def forget(site: str, user: str, reach: ForgetPorts) -> ForgetReceipt:
    """Erase *user*. Raises `Unavailable` if a part of the system does not answer; then run it again."""
    known = reach.activations(site, user)
    passes: list[dict[str, int]] = []
    for number in range(MAX_PASSES):
        if number:
            reach.sleep(SETTLE_S)
        passes.append(erase_once(site, user, reach, known))
        if number and not any(passes[-1].values()):
            return ForgetReceipt(site, passes, done=True)
    return ForgetReceipt(site, passes, done=False)


def erase_once(site: str, user: str, reach: ForgetPorts, known: Collection[str]) -> dict[str, int]:
    """Run one pass, tombstone first; return the number of erased items by store.

    *known*: the ids of the user's activations.
    """
    request = ForgetUser(site, user)
    receipts = {f"mongodb.{name}": count for name, count in ask(reach.engager, request).items()}
    receipts |= {f"redis.{name}": count for name, count in ask(reach.decider, request).items()}
    schedules = receipts.pop("redis.schedules", 0)
    return receipts | {"schedules": schedules, "queues.messages": purge(reach.dead, site, user, known)}


def activations(database: Database[Document], site: str, user: str) -> Collection[str]:
    """Return the ids of the user's activations in the ledger."""
    with translate_errors():
        deliveries.index(database)
        return {row["_id"] for row in database.activations.find({"site": site, "user": user}, {"_id": 1})}


def purge(queues: Queues, site: str, user: str, known: Collection[str] = ()) -> int:
    """Delete the messages about *user* and return their number. All others become visible again."""
    try:
        return sum(_purge(queues.sqs, url, lambda body: is_about(body, site, user, known)) for url in queues.urls)
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"dead-letter queues: {type(error).__name__}", code="queue_unavailable") from error


def _purge(sqs: Any, url: str, is_theirs: Callable[[str], bool]) -> int:
    kept: dict[str, str] = {}
    deleted = 0
    try:
        for message in _messages(sqs, url):
            if message["MessageId"] in kept:  # visible again: every message has been read once
                kept[message["MessageId"]] = message["ReceiptHandle"]
                break
            if is_theirs(message["Body"]):
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                deleted += 1
            else:
                kept[message["MessageId"]] = message["ReceiptHandle"]
    finally:
        handles = list(kept.values())
        for start in range(0, len(handles), 10):
            entries = [
                {"Id": str(n), "ReceiptHandle": handle, "VisibilityTimeout": 0}
                for n, handle in enumerate(handles[start : start + 10])
            ]
            sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    return deleted


def _messages(sqs: Any, url: str) -> Iterator[dict[str, Any]]:
    """Yield the messages of a queue and hide them from other readers. Two empty reads mean an empty queue."""
    empty = seen = 0
    while empty < 2 and seen < MAX_MESSAGES:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=HIDE_S, WaitTimeSeconds=min(empty, 1)
        )
        found = answer.get("Messages", [])
        empty = 0 if found else empty + 1
        seen += len(found)
        yield from found


def is_about(body: str, site: str, user: str, known: Collection[str]) -> bool:
    """Return whether a message is about *user*.

    It may be an activation, a doorbell, a failed call that contains one, or an SES event with one of the *known* ids.
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    waiting = [content]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get("site") == site and each.get("user") == user:
                return True
            tags = each.get("activation_id")
            if isinstance(tags, list) and any(tag in known for tag in tags if isinstance(tag, str)):
                return True
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False
