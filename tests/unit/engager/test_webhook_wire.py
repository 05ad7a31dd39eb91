"""The webhook's connection: to the intended receiver only, and never for longer than the limit."""

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
from engager.ledger.states import DeliveryResult, State
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
    sent: Webhook | None = None,
) -> DeliveryResult:
    """Send a webhook to *receiver* at *addresses* and return the result."""
    post = https_post(
        resolve=lambda _: addresses,
        is_public=public,
        context=trust or authority.context,
        port=receiver.port,
        limit_s=LIMIT_S,
    )
    return WebhookSender(post, lambda: NOW)(sent or webhook())


def test_the_request_is_whole_and_signed(authority: Authority) -> None:
    """A JSON POST with idempotency key, a signature over time and body, and the right host in TLS and HTTP."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        assert send(receiver, authority) == DeliveryResult(State.SENT)
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
    """A redirect could lead anywhere, so there is only the first request."""
    with receiving(authority, answering(HTTP_OK)) as other:
        there = f"HTTP/1.1 302 Found\r\nLocation: https://{HOST}:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        with receiving(authority, answering(there.encode())) as receiver:
            assert send(receiver, authority) == DeliveryResult(State.FAILED_FINAL, "http_302")
    assert (receiver.connections, other.connections) == (1, 0)


@pytest.mark.parametrize("addresses", [("10.0.0.1",), (LOCAL, "10.0.0.1"), ("169.254.169.254", LOCAL), ("::1", LOCAL)])
def test_one_private_address_is_enough_to_refuse(authority: Authority, addresses: Sequence[str]) -> None:
    """A host with public and private addresses is refused without a connection."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        assert send(receiver, authority, addresses=addresses) == DeliveryResult(State.FAILED_FINAL, "forbidden_address")
    assert receiver.connections == 0


def test_a_real_check_refuses_this_machine(authority: Authority) -> None:
    """With the real check, a receiver on this machine is refused by name and by address."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        for host in ("localhost", LOCAL):
            post = https_post(context=authority.context, port=receiver.port)
            assert WebhookSender(post, lambda: NOW)(webhook(host)) == DeliveryResult(
                State.FAILED_FINAL, "forbidden_address"
            )
    assert receiver.connections == 0


def test_a_name_is_looked_up_once(authority: Authority) -> None:
    """A name server that would change its answer (DNS rebinding) is not asked a second time."""
    results = iter([(LOCAL,), ("10.0.0.1",), ("10.0.0.1",)])
    asked: list[str] = []

    def rebinding(host: str) -> Sequence[str]:
        asked.append(host)
        return next(results)

    with receiving(authority, answering(HTTP_OK)) as receiver:
        post = https_post(
            resolve=rebinding,
            is_public=lambda address: address == LOCAL,
            context=authority.context,
            port=receiver.port,
            limit_s=LIMIT_S,
        )
        assert WebhookSender(post, lambda: NOW)(webhook()) == DeliveryResult(State.SENT)
    assert asked == [HOST]


def test_a_server_with_another_name_gets_nothing(authority: Authority) -> None:
    """A certificate for another name ends the connection before the request."""
    with receiving(authority, answering(HTTP_OK), name="other.example") as receiver:
        assert send(receiver, authority) == DeliveryResult(State.FAILED_RETRYABLE, "tls_certificate")
    assert receiver.requests == []


def test_an_unknown_authority_is_not_trusted(authority: Authority) -> None:
    """The system's authorities do not include that of the tests."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        result = send(receiver, authority, trust=ssl.create_default_context())
        assert result == DeliveryResult(State.FAILED_RETRYABLE, "tls_certificate")
    assert receiver.requests == []


LOST = DeliveryResult(State.FAILED_RETRYABLE, "connection_lost")
SENT = DeliveryResult(State.SENT)
LATE = DeliveryResult(State.FAILED_RETRYABLE, "timeout")


@pytest.mark.parametrize(
    ("behave", "result"),
    [
        pytest.param(silent, LATE, id="silent"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "), LATE, id="slow headers"),
        pytest.param(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), SENT, id="slow body"),
        pytest.param(flooding, SENT, id="endless body"),
        pytest.param(chunks, SENT, id="endless chunks"),
        pytest.param(heads, LOST, id="endless headers"),
        pytest.param(continuing, LOST, id="endless promises"),
        pytest.param(reset, LOST, id="reset"),
        pytest.param(answering(b""), LOST, id="closed"),
        pytest.param(answering(b"not HTTP at all\r\n\r\n"), LOST, id="not HTTP"),
        pytest.param(answering(b"HTTP/1.1 200 OK\r\n\r\n"), SENT, id="no length"),
    ],
)
def test_no_receiver_delays_the_sender(authority: Authority, behave: Behave, result: DeliveryResult) -> None:
    """The call ends in time, reads little and is made once. A status that was received counts."""
    with receiving(authority, behave) as receiver:
        begun = time.monotonic()
        assert send(receiver, authority) == result
        took = time.monotonic() - begun
    assert took < LIMIT_S + 0.5
    assert len(receiver.requests) == 1


def test_an_endless_handshake_times_out(authority: Authority) -> None:
    """A server that accepts the connection and never speaks TLS takes only the time limit."""
    with socket.create_server((LOCAL, 0)) as listener:
        receiver = Receiver(silent, listener.getsockname()[1])
        begun = time.monotonic()
        assert send(receiver, authority) == DeliveryResult(State.FAILED_RETRYABLE, "tls_failed")
        assert time.monotonic() - begun < LIMIT_S + 0.5


def test_a_silent_name_server_times_out(authority: Authority) -> None:
    """The look-up counts towards the time limit."""
    released = threading.Event()

    def slow(_: str) -> Sequence[str]:
        released.wait(10)
        return (LOCAL,)

    post = https_post(resolve=slow, is_public=lambda _: True, context=authority.context, limit_s=0.1)
    begun = time.monotonic()
    assert WebhookSender(post, lambda: NOW)(webhook()) == DeliveryResult(State.FAILED_RETRYABLE, "dns_timeout")
    assert time.monotonic() - begun < 2
    released.set()


def failing(_: str) -> Sequence[str]:
    """Fail to find the name."""
    raise socket.gaierror(-2, "Name or service not known")


def empty(_: str) -> Sequence[str]:
    """Find a name without addresses."""
    return ()


@pytest.mark.parametrize("resolver", [failing, empty])
def test_a_name_without_address_is_retryable(authority: Authority, resolver: Callable[[str], Sequence[str]]) -> None:
    """Nothing was sent, and a later look-up may succeed."""
    post = https_post(resolve=resolver, is_public=lambda _: True, context=authority.context, limit_s=LIMIT_S)
    assert WebhookSender(post, lambda: NOW)(webhook()) == DeliveryResult(State.FAILED_RETRYABLE, "dns_failed")


def test_a_closed_port_is_retryable_and_the_next_address_is_tried(authority: Authority) -> None:
    """An address that refuses the connection is skipped."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        public = lambda _: True  # noqa: E731 - all addresses here are this machine's
        assert send(receiver, authority, addresses=("127.0.0.2", LOCAL), public=public) == DeliveryResult(State.SENT)
        only = send(receiver, authority, addresses=("127.0.0.2",), public=public)
        assert only == DeliveryResult(State.FAILED_RETRYABLE, "connect_failed")


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (Webhook("a\r\nX-Evil: 1", Target(HOST, "/in"), BODY, KEY), "invalid_request"),
        (Webhook("a\n", Target(HOST, "/in"), BODY, KEY), "invalid_request"),
        (Webhook("☀", Target(HOST, "/in"), BODY, KEY), "invalid_request"),
        (Webhook("a1", Target(HOST, "/a b"), BODY, KEY), "invalid_request"),
        (Webhook("a1", Target(HOST, "/a\x7f"), BODY, KEY), "invalid_request"),
        (Webhook("a1", Target(HOST, "/ä☀"), BODY, KEY), "invalid_request"),
        (Webhook("a1", Target("." + HOST, "/in"), BODY, KEY), "invalid_host"),
        (Webhook("a1", Target("", "/in"), BODY, KEY), "invalid_host"),
    ],
)
def test_a_request_that_cannot_be_written_is_final(authority: Authority, sent: Webhook, reason: str) -> None:
    """Python refuses to write such a header, path or name. Nothing is sent, and a retry would fail in the same way."""
    with receiving(authority, answering(HTTP_OK)) as receiver:
        assert send(receiver, authority, sent=sent) == DeliveryResult(State.FAILED_FINAL, reason)
    assert not any(b"HTTP/1.1" in each for each in receiver.requests)
