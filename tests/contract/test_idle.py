"""Connections to AWS that were closed while a function was paused: only safe calls are repeated."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from decider.deliveries import AwsDeliveries
from decider.doorbells import AwsDoorbells, DoorbellTargets
from engager.channels.mime import Mail
from engager.channels.provider import aws_client
from engager.channels.ses import SesMailer
from engager.ledger.states import DeliveryResult, State
from shared.contracts import Activation, Doorbell
from shared.invoke import LambdaInvoke, no_retry_config
from tests.support.builders import log_warning
from tests.support.forgetful import Forgetful

KEYS: dict[str, Any] = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
IDLE_S = 0.2
ANSWER = {"MessageId": "m1", "Successful": [], "Failed": [], "ScheduleArn": "a", "contents": {}}
MAIL = Mail("ada@example.com", b"Subject: Hi\r\n\r\nHi", {"activation_id": "a1"})
ACTIVATION = Activation("a1", "shop", "ada", "cart", 1, "email", 0, "Order", "m1")


@pytest.fixture(name="way")
def _way() -> Iterator[Forgetful]:
    """Return a relay to an API that accepts everything and keeps its connections."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with Forgetful(server.server_port) as way:
        yield way
    server.shutdown()
    server.server_close()
    thread.join()


def address(way: Forgetful) -> str:
    """Return the address of the API."""
    return f"http://127.0.0.1:{way.port}"


def test_an_email_after_a_long_sleep_is_sent(way: Forgetful) -> None:
    """It uses a new connection, because on the old one it would be unknown whether it was sent."""
    send = SesMailer(aws_client("sesv2", idle_s=IDLE_S, endpoint_url=address(way), **KEYS), "")
    assert send(MAIL) == DeliveryResult(State.SENT, provider_id="m1")
    way.forget()
    time.sleep(2 * IDLE_S)
    assert send(MAIL) == DeliveryResult(State.SENT, provider_id="m1")
    assert way.made == 2


def test_emails_in_a_row_share_a_connection(way: Forgetful) -> None:
    """A new connection for each e-mail would take longer than sending it."""
    send = SesMailer(aws_client("sesv2", endpoint_url=address(way), **KEYS), "")
    assert [send(MAIL).state for _ in range(5)] == [State.SENT] * 5
    assert way.made == 1


def test_a_call_of_the_next_function_is_made_again(way: Forgetful) -> None:
    """The functions that Gateway and Decider call deduplicate repeated calls."""
    client = boto3.client("lambda", endpoint_url=address(way), config=no_retry_config(read_timeout_s=2), **KEYS)
    invoke = LambdaInvoke(client, "decider")
    for _ in range(2):
        assert json.loads(invoke(b"{}")) == ANSWER
        way.forget()
    assert way.made == 2


def test_queue_and_doorbells_are_reached_again(way: Forgetful) -> None:
    """Repeats are harmless: activations are deduplicated, doorbells only wake, and schedules have unique names."""
    options: dict[str, Any] = {"endpoint_url": address(way), "config": no_retry_config(read_timeout_s=2), **KEYS}
    sqs, scheduler = boto3.client("sqs", **options), boto3.client("scheduler", **options)
    targets = DoorbellTargets(f"{address(way)}/1/bells", "arn:bells", "group", "arn:role", "arn:dead")
    deliveries = AwsDeliveries(lambda _: b"", sqs, f"{address(way)}/1/deliveries")
    doorbells = AwsDoorbells(sqs, lambda: scheduler, targets, log_warning)
    near, far = (
        Doorbell("k", "1", Activation("a1", "shop", "ada", "cart", 1, "email", 0, "Order", "m1", due=due))
        for due in (60_000, 3_600_000)
    )
    for _ in range(2):
        deliveries.enqueue([ACTIVATION])
        way.forget()
        doorbells.schedule_doorbell(near, near.lost.due, 0)
        way.forget()
        doorbells.schedule_doorbell(far, far.lost.due, 0)
        way.forget()
    assert way.made == 6
