"""The decision feed beside the demo site: events with their outcome, and where a user stands with each campaign.

Only the local stack has it; the deployed Gateway has no such page. It records nothing while no page is open.
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
POLL_S = 0.3
HEARTBEAT_S = 3.0
_PRIVATE = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


class ReceivedMessage(msgspec.Struct, omit_defaults=True):
    """A tracking message that the Gateway received.

    ms: how long the Gateway took
    asked: whether it called the Decider
    popups: titles of the popups in the response
    refused: the error code, if the message was rejected
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
    """Observes the functions of a local stack while a page is open."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._received: deque[tuple[int, ReceivedMessage]] = deque(maxlen=MAX_KEPT)
        self._decided_ids: deque[str] = deque(maxlen=MAX_KEPT)
        self._count = 0
        self._viewers = 0

    def invoke_gateway(self, payload: bytes, invoke: Callable[[bytes], Answered]) -> Answered:
        """Invoke the Gateway with *invoke*; record its request and response."""
        if not self._viewers:
            return invoke(payload)
        began = time.perf_counter()
        answered = invoke(payload)
        ms = (time.perf_counter() - began) * 1000
        with self._changed:
            for each in received_messages(payload, answered.payload, ms, set(self._decided_ids)):
                self._count += 1
                self._received.append((self._count, each))
            self._changed.notify_all()
        return answered

    def observe_invocation(self, function: str, payload: bytes) -> None:
        """Record that *function* was invoked by another function with *payload*."""
        if self._viewers and function == DECIDER:
            try:
                events = msgspec.json.decode(payload, type=Decide).events
            except msgspec.DecodeError:
                return  # another of the Decider's requests
            self._decided_ids.extend(event.message_id for event in events)

    def stream(self, changes: Callable[[int], list[Document]], clock: Clock) -> Generator[bytes]:
        """Yield server-sent events until closed: received messages and changes of the ledger.

        changes: returns the ledger's rows that changed since a time (ms)
        """
        with self._changed:
            self._viewers += 1
            place = self._count
        try:
            since, quiet, known = clock(), time.monotonic(), set[tuple[str, ...]]()
            yield b"retry: 1000\n\n"
            while True:
                with self._changed:
                    if self._count == place:
                        self._changed.wait(POLL_S)
                    fresh = [each for count, each in self._received if count > place]
                    place = self._count
                # Two rows may change in the same millisecond, so the last one is read again.
                rows = [row for row in changes(since) if (row["id"], row["state"]) not in known]
                known |= {(row["id"], row["state"]) for row in rows}
                since = max((row["updated"] for row in rows), default=since)
                parts = [server_event("received", each) for each in fresh]
                parts += [server_event("ledger", row) for row in rows]
                if not parts and time.monotonic() - quiet > HEARTBEAT_S:
                    parts = [b":\n\n"]  # a failing write reveals that the browser has disconnected
                if parts:
                    quiet = time.monotonic()
                    yield b"".join(parts)
        finally:
            with self._changed:
                self._viewers -= 1


def received_messages(request: bytes, response: bytes, ms: float, decided_ids: set[str]) -> Iterator[ReceivedMessage]:
    """Yield the tracking messages in the Gateway's *request*, each with its outcome from the *response*."""
    try:
        event, answer = msgspec.json.decode(request), msgspec.json.decode(response)
        sent, outcome = msgspec.json.decode(event["body"]), msgspec.json.decode(answer["body"])
        items = sent["batch"] if "batch" in sent else [{"type": event["rawPath"].rpartition("/")[2], **sent}]
        refused = {each.get("messageId"): each["code"] for each in outcome.get("rejected", [])}
        for item in items:
            message_id, anonymous = item.get("messageId", ""), item.get("anonymousId", "")
            yield ReceivedMessage(
                id=message_id,
                type=item["type"],
                user=item.get("userId") or ANONYMOUS_PREFIX + anonymous,
                event=item.get("event") or item.get("name") or "",
                properties=item.get("properties") or item.get("traits") or {},
                ms=round(ms, 1),
                asked=message_id in decided_ids,
                popups=[popup["title"] for popup in outcome.get("messages", [])] if item is items[-1] else [],
                refused=refused.get(message_id) or outcome.get("code", ""),
            )
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError):
        return  # not a tracking request, or the Gateway rejected all of it


def pages(
    feed: DecisionFeed, pools: Mapping[str, Pool], mongodb_url: Callable[[], str], clock: Clock
) -> Mapping[str, Handler]:
    """Return the feed's pages by path: the event stream, and a user's standing with each campaign."""

    @cache
    def database() -> Database[Document]:
        return mongodb.database(mongodb_url(), "opportune")

    def ask(payload: bytes) -> bytes:
        return pools[DECIDER].invoke(payload).payload

    def changes(since: int) -> list[Document]:
        from opportune.operations.deliveries import delivery  # noqa: PLC0415 - only if a page is open

        when = datetime.fromtimestamp(since / 1000, UTC)
        with translate_errors():
            rows = database().activations.find({"updated": {"$gte": when}}, sort=[("updated", ASCENDING)], limit=100)
            return [msgspec.to_builtins(delivery(row, clock())) for row in rows]

    def stream(_: Request) -> Response:
        headers = [("Content-Type", "text/event-stream"), *_PRIVATE]
        return Response(200, headers=headers, stream=feed.stream(changes, clock))

    def standing(request: Request) -> Response:
        from opportune.operations.why import answer, snapshot  # noqa: PLC0415 - only if a page is open

        query = parse_qs(request.target.partition("?")[2])
        site, user = query.get("site", [""])[0], query.get("user", [""])[0]
        try:
            found = answer.explain(snapshot.read_snapshot(database(), ask, site, user, clock()))
        except OpportuneError as error:
            return _json(error.status, {"code": error.code, "message": error.message})
        return _json(200, found)

    return {PATH: stream, STANDING_PATH: standing}


def server_event(kind: str, content: Any) -> bytes:
    """Return a server-sent event of *kind*, with *content* as JSON."""
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(content))


def _json(status: int, content: Any) -> Response:
    return Response(status, msgspec.json.encode(content), [("Content-Type", "application/json"), *_PRIVATE])
