"""What the demo site shows beside itself: decisions as they fall, and what stands between a user and each campaign.

For this machine alone: the deployed Gateway has no such address. Nothing is watched while nobody looks.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import msgspec
from pymongo import ASCENDING
from pymongo.database import Database

from opportune.local.environments import InvocationResult as Answered
from opportune.local.environments import Pool
from opportune.local.http_server import Handler, Request, Response
from shared import mongodb
from shared.clock import Clock
from shared.contracts import ANONYMOUS_PREFIX, Decide
from shared.errors import OpportuneError
from shared.mongodb import Document, translate_errors
from shared.settings import DECIDER

PATH, STANDING_PATH = "/_decisions", "/_decisions/standing"
MAX_KEPT = 500
LOOK_S = 0.3
HEARTBEAT_S = 3.0
_PRIVATE = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


class ReceivedMessage(msgspec.Struct, omit_defaults=True):
    """A message that the Gateway has answered after ``ms``; ``asked``: whether it had to ask the Decider.

    ``popups``: titles of those in the answer; ``refused``: the code, where the message was not taken.
    """

    id: str
    type: str
    user: str
    event: str
    properties: dict[str, Any]
    ms: float
    asked: bool
    popups: list[str] = []
    refused: str = ""


class DecisionFeed:
    """Listens to the functions of a local stack while somebody looks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heard: deque[tuple[int, ReceivedMessage]] = deque(maxlen=MAX_KEPT)
        self._asked: deque[str] = deque(maxlen=MAX_KEPT)
        self._count = 0
        self._lookers = 0

    def gateway(self, payload: bytes, invoke: Callable[[bytes], Answered]) -> Answered:
        """Invoke the Gateway, and hear what it is asked and answers."""
        if not self._lookers:
            return invoke(payload)
        began = time.perf_counter()
        answered = invoke(payload)
        ms = (time.perf_counter() - began) * 1000
        with self._changed:
            for each in heard(payload, answered.payload, ms, set(self._asked)):
                self._count += 1
                self._heard.append((self._count, each))
            self._changed.notify_all()
        return answered

    def invoked(self, function: str, payload: bytes) -> None:
        """Hear of an invocation of *function* by another one."""
        if self._lookers and function == DECIDER:
            try:
                events = msgspec.json.decode(payload, type=Decide).events
            except msgspec.DecodeError:
                return  # another of the Decider's requests
            self._asked.extend(event.message_id for event in events)

    def stream(self, changes: Callable[[int], list[Document]], clock: Clock) -> Generator[bytes]:
        """Yield server-sent events for ever: what is heard, and *changes* of the ledger since a time."""
        with self._changed:
            self._lookers += 1
            place = self._count
        try:
            since, quiet, known = clock(), time.monotonic(), set[tuple[str, ...]]()
            yield b"retry: 1000\n\n"
            while True:
                with self._changed:
                    if self._count == place:
                        self._changed.wait(LOOK_S)
                    fresh = [each for count, each in self._heard if count > place]
                    place = self._count
                # Two rows may change in one millisecond: the last one is asked for again.
                rows = [row for row in changes(since) if (row["id"], row["state"]) not in known]
                known |= {(row["id"], row["state"]) for row in rows}
                since = max((row["updated"] for row in rows), default=since)
                told = [sent("received", each) for each in fresh] + [sent("ledger", row) for row in rows]
                if not told and time.monotonic() - quiet > HEARTBEAT_S:
                    told = [b":\n\n"]  # else nobody would notice that the browser has gone
                if told:
                    quiet = time.monotonic()
                    yield b"".join(told)
        finally:
            with self._changed:
                self._lookers -= 1


def heard(asked: bytes, answered: bytes, ms: float, decided: set[str]) -> Iterator[ReceivedMessage]:
    """Yield the messages in an event of API Gateway, with what the answer says of them."""
    try:
        event, answer = msgspec.json.decode(asked), msgspec.json.decode(answered)
        said, came = msgspec.json.decode(event["body"]), msgspec.json.decode(answer["body"])
        items = said["batch"] if "batch" in said else [{"type": event["rawPath"].rpartition("/")[2], **said}]
        refused = {each.get("messageId"): each["code"] for each in came.get("rejected", [])}
        for item in items:
            name, anonymous = item.get("messageId", ""), item.get("anonymousId", "")
            yield ReceivedMessage(
                id=name,
                type=item["type"],
                user=item.get("userId") or ANONYMOUS_PREFIX + anonymous,
                event=item.get("event") or item.get("name") or "",
                properties=item.get("properties") or item.get("traits") or {},
                ms=round(ms, 1),
                asked=name in decided,
                popups=[popup["title"] for popup in came.get("messages", [])] if item is items[-1] else [],
                refused=refused.get(name) or came.get("code", ""),
            )
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError):
        return  # no call of the tracking API, or one that the Gateway refused as a whole


def pages(
    feed: DecisionFeed, pools: Mapping[str, Pool], mongodb_url: Callable[[], str], clock: Clock
) -> Mapping[str, Handler]:
    """Return the pages by path: the stream, and where a user stands with each campaign."""

    @cache
    def database() -> Database[Document]:
        return mongodb.database(mongodb_url(), "opportune")

    def ask(payload: bytes) -> bytes:
        return pools[DECIDER].invoke(payload).payload

    def changes(since: int) -> list[Document]:
        from opportune.operations.deliveries import delivery  # noqa: PLC0415 - only where somebody looks

        when = datetime.fromtimestamp(since / 1000, UTC)
        with translate_errors():
            rows = database().activations.find({"updated": {"$gte": when}}, sort=[("updated", ASCENDING)], limit=100)
            return [msgspec.to_builtins(delivery(row, clock())) for row in rows]

    def stream(_: Request) -> Response:
        headers = [("Content-Type", "text/event-stream"), *_PRIVATE]
        return Response(200, headers=headers, stream=feed.stream(changes, clock))

    def standing(request: Request) -> Response:
        from opportune.operations.why import answer, snapshot  # noqa: PLC0415 - only where somebody looks

        query = parse_qs(request.target.partition("?")[2])
        site, user = query.get("site", [""])[0], query.get("user", [""])[0]
        try:
            told = answer.answer(snapshot.read(database(), ask, site, user, clock()))
        except OpportuneError as error:
            return _json(error.status, {"code": error.code, "message": error.message})
        return _json(200, told)

    return {PATH: stream, STANDING_PATH: standing}


def sent(kind: str, content: Any) -> bytes:
    """Return a server-sent event of *kind*."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(content))


def _json(status: int, content: Any) -> Response:
    return Response(status, msgspec.json.encode(content), [("Content-Type", "application/json"), *_PRIVATE])
