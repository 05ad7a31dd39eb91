"""Webhooks: allowed targets, the request, and the meaning of each status."""

import http.server
import ipaddress
import json
import threading
from typing import Any

import pytest

from engager.channels.webhook import Webhook, WebhookSender, compose
from engager.channels.webhook_address import Target, is_public, parse_target, resolve
from engager.channels.webhook_wire import sink_post
from engager.ledger.states import DeliveryResult, State, Undeliverable
from shared.contracts import Activation

HOST = "hooks.partner.example"
LOCAL = "127.0.0.1"
NOW = 1_790_000_000_123
KEY = "ab" * 32


def activation() -> Activation:
    """Return an activation of a webhook."""
    return Activation("a1", "shop", "ada", "cart", 1, "webhook", NOW, "Order", "m1", attributes={"total": 3})


def webhook(url: str = f"https://{HOST}/in", **content: Any) -> Webhook:
    """Return the request for a campaign's content."""
    return compose(activation(), [HOST], {"url": url, **content}, KEY)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.partner.example", Target(HOST, "/")),
        ("https://hooks.partner.example/a/b?c=d&e=%20", Target(HOST, "/a/b?c=d&e=%20")),
        ("https://hooks.partner.example?x=1", Target(HOST, "/?x=1")),
        ("HTTPS://Hooks.Partner.Example:443/a#part", Target(HOST, "/a")),
        ("https://käse.example/", Target("xn--kse-qla.example", "/")),
        ("https://KA\u0308SE。EXAMPLE/", Target("xn--kse-qla.example", "/")),
        ("https://xn--strae-oqa.example/", Target("xn--strae-oqa.example", "/")),
    ],
)
def test_a_listed_https_url_is_accepted(url: str, expected: Target) -> None:
    """The host is lowercase ASCII, path and query are unchanged, and the fragment is dropped."""
    assert parse_target(url, ["HOOKS.partner.example", "käse.example", "straße.example"]) == expected


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "http://hooks.partner.example/",
        "ftp://hooks.partner.example/",
        "//hooks.partner.example/",
        "https:hooks.partner.example",
        "https:///hooks.partner.example",
        "https://hooks.partner.example:8443/",
        "https://hooks.partner.example:/",
        "https://hooks.partner.example@evil.example/",
        "https://evil.example@hooks.partner.example/",
        "https://u:p@hooks.partner.example/",
        "https://evil.example\\@hooks.partner.example/",
        "https://hooks.partner.example\\.evil.example/",
        "https://hooks.partner.example%2eevil.example/",
        "https://hooks.partner.example /",
        " https://hooks.partner.example/",
        "https://hooks.partner.example/\r\nX: y",
        "https://hooks.partner.example/a b",
        "https://hooks.partner.example/ä",
        "https://hooks.partner.example\t/",
        "https://hooks.partner.example/\n",
        "https://[::1]/",
        "https://hooks..partner.example/",
        "https://käse..example/",
        "https://-käse.example/",
        "https://kä_se.example/",
        "https://💩.example/",
        "https://" + "ä" * 64 + ".example/",
        "https://" + "x" * 64 + ".example/",
        "https://" + "x" * 300 + "/",
        "https://hooks.partner.example/" + "x" * 5000,
    ],
)
def test_an_unusual_url_is_refused(url: Any) -> None:
    """Other schemes, ports, user names, escapes and line breaks are not interpreted."""
    with pytest.raises(Undeliverable) as refused:
        parse_target(url, [HOST])
    assert refused.value.code == "invalid_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://hooks.partner.example.evil.example/",
        "https://sub.hooks.partner.example/",
        "https://partner.example/",
        "https://hooks.partner.example./",
        "https://strasse.example/",
        "https://127.0.0.1/",
        "https://evil.example/https://hooks.partner.example/",
    ],
)
def test_only_listed_hosts_are_allowed(url: str) -> None:
    """A host matches the list exactly, and an empty list allows none."""
    for hosts in ([HOST], []):
        with pytest.raises(Undeliverable) as refused:
            parse_target(url, hosts)
        assert refused.value.code == "forbidden_host"


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"]
)
def test_public_addresses_pass(address: str) -> None:
    """Internet addresses are allowed, also in a translated form."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),  # noqa: S104
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("2002:7f00:1::1", "2002:a9fe:a9fe::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"),
        *("2001::7f00:1", "", "hooks.partner.example", "0x7f.1", "2130706433", "127.1"),
    ],
)
def test_all_other_addresses_are_refused(address: str) -> None:
    """Private, local, reserved, shared and multicast addresses, their translated forms, and invalid text."""
    assert not is_public(address)


def test_the_system_resolves_names() -> None:
    """A name resolves to its addresses, each once."""
    assert LOCAL in resolve("localhost")
    assert len(set(resolve("localhost"))) == len(resolve("localhost"))


def test_without_a_body_the_receiver_gets_the_activation() -> None:
    """The request has the ids, the time and the event attributes that the content uses."""
    assert json.loads(webhook().body) == {
        "activation": "a1",
        "site": "shop",
        "campaign": "cart",
        "user": "ada",
        "event": "Order",
        "at": NOW,
        "attributes": {"total": 3},
    }


@pytest.mark.parametrize("body", [{"text": 'Grüße "Ada"'}, [1, {"a": None}], {}])
def test_a_body_is_sent_as_it_was_written(body: Any) -> None:
    """Any JSON value is sent unchanged, also an empty one."""
    assert json.loads(webhook(body=body).body) == body


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": "\ud800"}])
def test_a_body_that_is_not_json_is_refused(body: Any) -> None:
    """A value that JSON cannot express fails while the message is prepared."""
    with pytest.raises(Undeliverable) as refused:
        webhook(body=body)
    assert refused.value.code == "invalid_body"


def test_an_overlong_body_is_refused() -> None:
    """The limit is higher than that of most receivers."""
    with pytest.raises(Undeliverable) as refused:
        webhook(body={"x": "y" * 300_000})
    assert refused.value.code == "long_message"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, DeliveryResult(State.SENT)),
        (204, DeliveryResult(State.SENT)),
        (301, DeliveryResult(State.FAILED_FINAL, "http_301")),
        (400, DeliveryResult(State.FAILED_FINAL, "http_400")),
        (404, DeliveryResult(State.FAILED_FINAL, "http_404")),
        (408, DeliveryResult(State.FAILED_RETRYABLE, "http_408")),
        (425, DeliveryResult(State.FAILED_RETRYABLE, "http_425")),
        (429, DeliveryResult(State.FAILED_RETRYABLE, "http_429")),
        (500, DeliveryResult(State.FAILED_RETRYABLE, "http_500")),
        (503, DeliveryResult(State.FAILED_RETRYABLE, "http_503")),
    ],
)
def test_a_status_means_one_result(status: int, result: DeliveryResult) -> None:
    """Accepted, refused for now, or refused for good."""
    assert WebhookSender(lambda *_: status, lambda: NOW)(webhook()) == result


def test_a_sink_gets_everything_by_plain_http() -> None:
    """One address gets all webhooks, complete and signed, with the URL that each was meant for."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    class Sink(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Say nothing."""

    with http.server.HTTPServer((LOCAL, 0), Sink) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        post = sink_post(f"http://{LOCAL}:{server.server_port}/hooks")
        assert WebhookSender(post, lambda: NOW)(webhook()) == DeliveryResult(State.SENT)
        thread.join()
    ((path, headers, body),) = seen
    assert path == "/hooks"
    assert headers["Opportune-Url"] == f"https://{HOST}/in"
    assert headers["Idempotency-Key"] == "a1"
    assert headers["Opportune-Signature"].startswith("t=1790000000,v1=")
    assert ipaddress.ip_address(headers["Host"].partition(":")[0]).is_loopback
    assert body == webhook().body
