"""F30, and F11 to F13 for webhooks: a receiver that is slow, endless, elsewhere or failing."""

import socket
import time

import pytest

from tests.support.faults.provider import Mode, Reply
from tests.support.faults.system import Lab

PATIENT_S = 5  # longer than a webhook may take
ELSEWHERE = [
    "http://hooks.example/in",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/in",
    "https://hooks.example@127.0.0.1/in",
    "https://hooks.example.attacker.example/in",
    "https://hooks.example\\@attacker.example/in",
    "//hooks.example/in",
    "file:///etc/passwd",
    "",
]


def drip(connection: socket.socket) -> None:
    """Respond a byte at a time, without an end."""
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def flood(connection: socket.socket) -> None:
    """Respond with ten gigabytes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
    for _ in range(150_000):
        connection.sendall(b"x" * 65536)


@pytest.mark.parametrize("mode", ["throttle", "error", "reset", "accept_then_timeout", "accept_then_reset"])
def test_f12_a_webhook_is_repeated_under_one_key(lab: Lab, mode: Mode) -> None:
    """Every unclear outcome is retried. The receiver deduplicates by the key and acts once."""
    with lab.receives(8, PATIENT_S), lab.trial() as trial:
        lab.webhook.will(mode)
        trial.insist(trial.user(), "hook", matches=["webhook"])
        trial.wait_row("sent")
    assert len(set(trial.accepted("webhook"))) == 1
    assert [state for state, _ in trial.states()] == ["sent"]


def test_f12_a_copy_comes_while_the_first_is_on_its_way(lab: Lab) -> None:
    """The queue delivers a message again before its first copy is rejected: it is sent all the same."""
    with lab.trial() as trial:
        lab.webhook.will("accept_then_timeout")
        trial.insist(trial.user(), "hook", matches=["webhook"])
        trial.wait_row("failed_retryable")


def test_f30_an_answer_that_drips(lab: Lab) -> None:
    """The call times out after three seconds, and is retried once the receiver is healthy."""
    with lab.receives(8, PATIENT_S), lab.trial() as trial:
        lab.webhook.raw = drip
        trial.insist(trial.user(), "hook", matches=["webhook"])
        trial.wait_row("failed_retryable")
        lab.webhook.raw = None
        trial.wait_row("sent")


def test_f30_an_answer_without_an_end(lab: Lab) -> None:
    """Only the status is read: it counts as sent."""
    with lab.trial() as trial:
        lab.webhook.raw = flood
        began = time.monotonic()
        trial.insist(trial.user(), "hook", matches=["webhook"])
        trial.wait_row("sent")
        assert time.monotonic() - began < 10


def test_f30_a_redirect_is_not_followed(lab: Lab) -> None:
    """It fails finally, and no other host is called."""
    with lab.trial() as trial:
        where = (("Location", "http://169.254.169.254/latest/meta-data"),)
        lab.webhook.instead = Reply(302, b"", where)
        trial.insist(trial.user(), "hook", matches=["webhook"])
        trial.wait_row("failed_final")
    assert trial.states() == [("failed_final", "http_302")]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_f30_a_place_where_no_webhook_may_go(lab: Lab, url: str) -> None:
    """A URL from an event that leads to a host outside the allow-list fails finally, without a call."""
    with lab.trial() as trial:
        trial.post(trial.user(), "hook anywhere", matches=["anywhere"], url=url)
        trial.wait_row("failed_final")
    assert trial.accepted("webhook") == []
