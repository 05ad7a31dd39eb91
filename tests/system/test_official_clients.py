"""Segment's and RudderStack's own Python libraries against the whole system, while responses get lost."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

import pytest
import rudderstack.analytics
import segment.analytics

from opportune.authoring import publishing
from opportune.local.http_server import HttpServer, Request, Response
from tests.support.whole_system import System

KEY = "wk_demo_public"
LOST = Response(502, b'{"message": "Bad Gateway"}', [("Content-Type", "application/json")])


class LossyProxy:
    """A proxy between a library and the Gateway that records requests and drops the first *lost* responses."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = threading.Lock()
        self.lost = 0
        self.requests: list[Request] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.server = HttpServer(self._pass_on, port=None, max_body=2**24, too_large=LOST, failed=LOST)

    def _pass_on(self, request: Request) -> Response:
        headers = {name: value for name, value in request.headers if name.lower() not in ("host", "content-length")}
        call = Call(self._target + request.target, data=request.body, headers=headers, method=request.method)
        try:
            with urlopen(call, timeout=10) as response:
                status, body = response.status, response.read()
        except HTTPError as error:
            status, body = error.code, error.read()
        with self._lock:
            self.requests.append(request)
            self.answers.append((status, json.loads(body)))
            if self.lost > 0:
                self.lost -= 1
                return LOST
        return Response(status, body, [("Content-Type", "application/json")])


@pytest.fixture(name="way")
def _way(system: System) -> Iterator[LossyProxy]:
    way = LossyProxy(system.stack.http_url)
    way.server.start()
    yield way
    way.server.stop()


@contextmanager
def segments(host: str, failures: list[Any]) -> Iterator[Any]:
    """Yield Segment's library; *failures* gets what it could not deliver."""
    client = segment.analytics.Client(KEY, host=host, on_error=lambda error, _: failures.append(error), max_retries=3)
    yield client
    client.shutdown()


@contextmanager
def rudders(host: str, failures: list[Any]) -> Iterator[Any]:
    """Yield RudderStack's library, which compresses its requests."""
    client = rudderstack.analytics.Client(KEY, host=host, on_error=lambda error, _: failures.append(error))
    yield client
    client.shutdown()


CLIENTS = pytest.mark.parametrize("library", [segments, rudders])


@CLIENTS
def test_every_call_is_accepted(library: Callable[..., Any], way: LossyProxy) -> None:
    """Every call of the library gets a 200; nothing is rejected or sent twice."""
    failures: list[Any] = []
    with library(way.server.url, failures) as client:
        client.identify("sdk", {"email": "sdk@shop.example", "plan": None})
        client.identify(None, {"theme": "dark"}, anonymous_id="visitor")
        client.track("sdk", "Product Viewed", {"price": 12.5, "tags": ["a", "b"], "of": {"x": {"y": True}}})
        client.track(4711, "Product Viewed")
        client.page("sdk", "Docs", "Python", {"url": "https://shop.example/docs"})
        client.screen("sdk", None, "Home")
        client.group("sdk", "acme", {"seats": 7})
        client.alias("visitor", "sdk")
    assert failures == []
    assert {status for status, _ in way.answers} == {200}
    assert not [answer["rejected"] for _, answer in way.answers if "rejected" in answer]
    packed = library is rudders
    assert {request.header("content-encoding") for request in way.requests} == {"gzip" if packed else ""}


@CLIENTS
def test_retries_after_a_lost_response_count_once(library: Callable[..., Any], way: LossyProxy, system: System) -> None:
    """Two wins are sent three times because responses are lost, and count as two. The third win completes the match."""
    user = f"client-{library.__name__}"
    row = {"_id": f"demo:{user}", "site": "demo", "user": user, "attributes": {"tier": "vip", "first_name": user}}
    system.database.customers.insert_one(row)
    publishing.refresh_targets(system.database, "demo")
    failures: list[Any] = []
    way.lost = 2
    with library(way.server.url, failures) as client:
        client.track(user, "game_result", {"outcome": "win"})
        client.track(user, "game_result", {"outcome": "win"})
    sent = [status for status, _ in way.answers]
    assert sent == [200] * 3
    assert [answer["messages"] for _, answer in way.answers] == [[]] * 3
    with library(way.server.url, failures) as client:
        client.track(user, "game_result", {"outcome": "win"})
    assert failures == []
    (popup,) = way.answers[-1][1]["messages"]
    assert popup["campaign"] == "three-wins"
    assert system.database.activations.count_documents({"user": user, "campaign": "three-wins"}) == 1


@CLIENTS
def test_a_wrong_key_is_not_retried(library: Callable[..., Any], way: LossyProxy) -> None:
    """The response is 401 with code and message, and no library retries it."""
    failures: list[Any] = []
    with library(way.server.url, failures) as client:
        client.write_key = "wk_of_nobody"
        for consumer in client.consumers:
            consumer.write_key = "wk_of_nobody"
        client.track("sdk", "Product Viewed")
    assert [(status, answer["code"]) for status, answer in way.answers] == [(401, "invalid_write_key")]
    assert len(failures) == 1
