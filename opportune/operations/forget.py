"""`opportune forget`: erase a user everywhere, in passes, until one finds nothing.

    Engager   tombstone, MongoDB     from here on no message leaves the house
    Decider   row, agenda, schedules
    queues    messages of his that could not be delivered

What SES reports of his e-mails names activations, not him: their ids are asked for before they lose his name.

An event of his that was on its way, and a delivery under way, leave traces behind a pass. So there is a second one
when all that has ended, and more while the site still sends his events. Doorbells that are hidden in their queue
cannot be taken out of it: within 15 minutes they ring in vain.
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
MOST_PASSES = 4
SETTLE_S = 6.0  # a Gateway gives the Decider 5 s
HIDE_S = 120
MOST_MESSAGES = 120_000  # that many may be hidden at a time


class Reach(NamedTuple):
    """What is called: the functions, the queues of what could not be delivered, and how to wait.

    ``activations``: the ids of a user's activations, by site and user.
    """

    decider: Invoke
    engager: Invoke
    dead: Queues
    activations: Callable[[str, str], Collection[str]]
    sleep: Callable[[float], None] = time.sleep


class Erased(msgspec.Struct):
    """What it came to: per pass and store the number of things erased. ``done``: the last pass found nothing."""

    site: str
    passes: list[dict[str, int]]
    done: bool

    @property
    def found(self) -> bool:
        """Return whether there was anything of the user: a tombstone alone is no trace."""
        return any(count for name, count in self.totals.items() if name != TOMBSTONE)

    @property
    def is_new(self) -> bool:
        """Return whether nobody had asked for it before."""
        return bool(self.totals.get(TOMBSTONE))

    @property
    def totals(self) -> dict[str, int]:
        """Return the numbers of all passes together."""
        names = dict.fromkeys(name for each in self.passes for name in each)
        return {name: sum(each.get(name, 0) for each in self.passes) for name in names}


def forget(site: str, user: str, reach: Reach) -> Erased:
    """Erase *user*; raises `Unavailable` where a part does not answer: then it has to be repeated."""
    known = reach.activations(site, user)
    passes: list[dict[str, int]] = []
    for number in range(MOST_PASSES):
        if number:
            reach.sleep(SETTLE_S)
        passes.append(erase_once(site, user, reach, known))
        if number and not any(passes[-1].values()):
            return Erased(site, passes, done=True)
    return Erased(site, passes, done=False)


def erase_once(site: str, user: str, reach: Reach, known: Collection[str]) -> dict[str, int]:
    """Erase what is there now; return how much that was, by store. The tombstone comes first.

    *known*: ids of activations of his.
    """
    request = ForgetUser(site, user)
    receipts = {f"mongodb.{name}": count for name, count in ask(reach.engager, request).items()}
    receipts |= {f"redis.{name}": count for name, count in ask(reach.decider, request).items()}
    schedules = receipts.pop("redis.schedules", 0)
    return receipts | {"schedules": schedules, "queues.messages": purge(reach.dead, site, user, known)}


def activations(database: Database[Document], site: str, user: str) -> Collection[str]:
    """Return the ids of the activations that the ledger has of *user*."""
    with translate_errors():
        deliveries.index(database)
        return {row["_id"] for row in database.activations.find({"site": site, "user": user}, {"_id": 1})}


def purge(queues: Queues, site: str, user: str, known: Collection[str] = ()) -> int:
    """Delete the messages about *user*, and no others; return how many. The rest is visible again after."""
    try:
        return sum(_purge(queues.sqs, url, lambda body: is_about(body, site, user, known)) for url in queues.urls)
    except (BotoCoreError, ClientError) as error:
        raise Unavailable(f"dead-letter queues: {type(error).__name__}", code="queue_unavailable") from error


def _purge(sqs: Any, url: str, is_his: Callable[[str], bool]) -> int:
    kept: dict[str, str] = {}
    deleted = 0
    try:
        for message in _messages(sqs, url):
            if message["MessageId"] in kept:  # hidden no longer: it is the second time round
                kept[message["MessageId"]] = message["ReceiptHandle"]
                break
            if is_his(message["Body"]):
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
    """Yield the messages of a queue, hidden from others; the queue is empty when two looks find nothing."""
    empty = seen = 0
    while empty < 2 and seen < MOST_MESSAGES:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=HIDE_S, WaitTimeSeconds=min(empty, 1)
        )
        found = answer.get("Messages", [])
        empty = 0 if found else empty + 1
        seen += len(found)
        yield from found


def is_about(body: str, site: str, user: str, known: Collection[str]) -> bool:
    """Return whether a message is about *user*.

    That is an activation, a doorbell, a call that failed with one in it, or what SES says of one of the *known* ids.
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
