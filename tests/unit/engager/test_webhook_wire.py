"""The way of a webhook: to the one receiver that was meant, nowhere else, and never for longer than the limit."""

import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from engager.channels.webhook import Webhook, WebhookSender
from engager.channels.webhook_address import Target
from engager.channels.webhook_wire import https_post
from engager.ledger.states import Outcome, State
from tests.support.receivers import (
    HOST,
    HTTP_OK,
    LOCAL,
    Authority,
    Behave,
    Receiver,
    answering,
    chunks,
    continuing,
    dripping,
    flooding,
    heads,
    receiving,
    reset,
    silent,
)

LIMIT_S = 0.6
NOW = 1_790_000_000_123
KEY = "ab" * 32
BODY = b'{"text":"Hi"}'


def webhook(host: str = HOST) -> Webhook:
    """Return a request to *host*."""
    return Webhook("a1", Target(host, "/in"), BODY, KEY)


@pytest.fixture(name="authority", scope="module")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def send(
    receiver: Receiver,
    authority: Authority,
    *,
    addresses: Sequence[str] = (LOCAL,),
    public: Callable[[str], bool] = lambda address: address == LOCAL,
    trust: ssl.SSLContext | None = None,
) -> Outcome:
    """Send a webhook to *receiver*, found under *addresses*, and return the outcome."""
    post = https_post(
        resolve=lambda _: addresses,
        is_public=public,
        context=trust or authority.context,
        port=receiver.port,
        limit_s=LIMIT_S,
    )
    return WebhookSender(post, lambda: NOW)(webhook())


def test_the_request_is_whole_and_signed(authority: Authority) -> None:
    """POST, JSON, the activation as idempotency key, a signature over time and body, the right name in TLS and HTTP."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        assert send(receiver, authority) == Outcome(State.SENT)
    (request,) = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    assert first == "POST /in HTTP/1.1"
    assert headers["Host"] == HOST
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "a1"
    expected = hmac.new(KEY.encode(), b"1790000000." + body, hashlib.sha256).hexdigest()
    assert headers["Opportune-Signature"] == f"t=1790000000,v1={expected}"
    assert body == BODY
    assert receiver.names == [HOST]


def test_a_redirect_is_not_followed(authority: Authority) -> None:
    """It could lead anywhere; the one request is the only one."""
    with receiving(authority, answering(HTTP_OK)) as other:
        there = f"HTTP/1.1 302 Found\r\nLocation: https://{HOST}:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        with receiving(authority, answering(there.encode())) as receiver:
            assert send(receiver, authority) == Outcome(State.FAILED_FINAL, "http_302")
    assert (receiver.connections, other.connections) == (1, 0)


@pytest.mark.parametrize("addresses", [("10.0.0.1",), (LOCAL, "10.0.0.1"), ("169.254.169.254", LOCAL), ("::1", LOCAL)])
def test_one_private_address_is_enough_to_refuse(authority: Authority, addresses: Sequence[str]) -> None:
    """A name with public and private addresses is refused as a whole, without a connection."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        assert send(receiver, authority, addresses=addresses) == Outcome(State.FAILED_FINAL, "forbidden_address")
    assert receiver.connections == 0


def test_a_real_check_refuses_this_machine(authority: Authority) -> None:
    """With the check that is in use a receiver on this machine is out of reach, by name and by number."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        for host in ("localhost", LOCAL):
            post = https_post(context=authority.context, port=receiver.port)
            assert WebhookSender(post, lambda: NOW)(webhook(host)) == Outcome(State.FAILED_FINAL, "forbidden_address")
    assert receiver.connections == 0


def test_a_name_is_looked_up_once(authority: Authority) -> None:
    """A name server that answers otherwise the second time is not asked a second time (DNS rebinding)."""
    answers = iter([(LOCAL,), ("10.0.0.1",), ("10.0.0.1",)])
    asked: list[str] = []

    def rebinding(host: str) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    with receiving(authority, answering(HTTP_OK)) as receiver:
        post = https_post(
            resolve=rebinding,
            is_public=lambda address: address == LOCAL,
            context=authority.context,
            port=receiver.port,
            limit_s=LIMIT_S,
        )
        assert WebhookSender(post, lambda: NOW)(webhook()) == Outcome(State.SENT)
    assert asked == [HOST]


def test_a_server_that_is_somebody_else_gets_nothing(authority: Authority) -> None:
    """A certificate for another name ends it before the request."""
    with receiving(authority, answering(HTTP_OK), name="other.example") as receiver:
        assert send(receiver, authority) == Outcome(State.FAILED_RETRYABLE, "tls_certificate")
    assert receiver.requests == []


def test_an_unknown_authority_is_not_trusted(authority: Authority) -> None:
    """With the system's authorities the test's own is a stranger."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        outcome = send(receiver, authority, trust=ssl.create_default_context())
        assert outcome == Outcome(State.FAILED_RETRYABLE, "tls_certificate")
    assert receiver.requests == []


LOST = Outcome(State.FAILED_RETRYABLE, "connection_lost")
LATE = Outcome(State.FAILED_RETRYABLE, "timeout")


@pytest.mark.parametrize(
    ("behave", "outcome"),
    [
        pytest.param(silent, LATE, id="silent"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "), LATE, id="slow headers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), Outcome(State.SENT), id="slow body"),
        pytest.param(flooding, Outcome(State.SENT), id="endless body"),
        pytest.param(chunks, Outcome(State.SENT), id="endless chunks"),
        pytest.param(heads, LOST, id="endless headers"),
        pytest.param(continuing, LOST, id="endless promises"),
        pytest.param(reset, LOST, id="reset"),
        pytest.param(answering(b""), LOST, id="closed"),
        pytest.param(answering(b"not HTTP at all\r\n\r\n"), LOST, id="not HTTP"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\n\r\n"), Outcome(State.SENT), id="no length"),
    ],
)
def test_no_receiver_holds_the_sender_up(authority: Authority, behave: Behave, outcome: Outcome) -> None:
    """Whatever it does, the call ends in time, reads little, and is made once; a status that came counts."""
    with receiving(authority, behave) as receiver:
        begun = time.monotonic()
        assert send(receiver, authority) == outcome
        took = time.monotonic() - begun
    assert took < LIMIT_S + 0.5
    assert len(receiver.requests) == 1


def test_a_handshake_without_end_is_given_up(authority: Authority) -> None:
    """A server that takes the connection and never speaks TLS costs the time limit, no more."""
    with socket.create_server((LOCAL, 0)) as listener:
        receiver = Receiver(silent, listener.getsockname()[1])
        begun = time.monotonic()
        assert send(receiver, authority) == Outcome(State.FAILED_RETRYABLE, "tls_failed")
        assert time.monotonic() - begun < LIMIT_S + 0.5


def test_a_name_server_that_is_silent_is_given_up(authority: Authority) -> None:
    """The look-up counts into the time limit."""
    answered = threading.Event()

    def slow(_: str) -> Sequence[str]:
        answered.wait(10)
        return (LOCAL,)

    post = https_post(resolve=slow, is_public=lambda _: True, context=authority.context, limit_s=0.1)
    begun = time.monotonic()
    assert WebhookSender(post, lambda: NOW)(webhook()) == Outcome(State.FAILED_RETRYABLE, "dns_timeout")
    assert time.monotonic() - begun < 2
    answered.set()


def failing(_: str) -> Sequence[str]:
    """Find no such name."""
    raise socket.gaierror(-2, "Name or service not known")


def empty(_: str) -> Sequence[str]:
    """Find a name without addresses."""
    return ()


@pytest.mark.parametrize("resolver", [failing, empty])
def test_a_name_without_address_is_retryable(authority: Authority, resolver: Callable[[str], Sequence[str]]) -> None:
    """Nothing was sent; tomorrow's name server may know it."""
    post = https_post(resolve=resolver, is_public=lambda _: True, context=authority.context, limit_s=LIMIT_S)
    assert WebhookSender(post, lambda: NOW)(webhook()) == Outcome(State.FAILED_RETRYABLE, "dns_failed")


def test_a_closed_port_is_retryable_and_the_next_address_is_tried(authority: Authority) -> None:
    """Only an address that takes no connection is passed over."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        public = lambda _: True  # noqa: E731 - all addresses here are this machine's
        assert send(receiver, authority, addresses=("127.0.0.2", LOCAL), public=public) == Outcome(State.SENT)
        only = send(receiver, authority, addresses=("127.0.0.2",), public=public)
        assert only == Outcome(State.FAILED_RETRYABLE, "connect_failed")
