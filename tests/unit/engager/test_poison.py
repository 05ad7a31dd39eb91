"""A message that cannot be composed or written ends in one attempt, whatever the error is."""

from collections.abc import Callable
from typing import Any

import pytest

from engager.channels.channel import composing
from engager.channels.outbound import outbound_channels
from engager.channels.provider import attempt
from engager.ledger.states import DeliveryResult, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Sender, Trigger
from shared.settings import ENGAGER, Settings

SETTINGS = Settings(ENGAGER, signing_secret="s" * 32, preferences_url="https://shop.example")
CAMPAIGN = Campaign("c", "1", "C", Trigger(key="k", program={}, matchers=[], horizon=0), "email", {})
CONTEXT = DeliveryContext(CAMPAIGN, CAMPAIGN, Sender("hello@shop.example"), ["x.example"])
CUSTOMER = {
    "email": "ada@example.com",
    "phone": "+436601234567",
    "push_endpoint": "arn:aws:sns:eu-west-1:123456789012:endpoint/GCM/app/a1",
}
ENCODE = UnicodeEncodeError("utf-8", "", 0, 1, "")
ERRORS = [ValueError(), TypeError(), KeyError(), RecursionError(), MemoryError(), ENCODE]


class Bomb:
    """A value that cannot be shown."""

    def __str__(self) -> str:
        raise OverflowError("secret-value")


def prepare(channel: str, content: dict[str, Any]) -> Callable[[], DeliveryResult]:
    """Prepare a message of *channel*."""
    activation = Activation("a1", "shop", "ada", "c", 1, channel, 0, "Order", "m1")
    channels = outbound_channels(SETTINGS, client=lambda _: None)
    return channels[channel].prepare(activation, CONTEXT, CUSTOMER, content)


@pytest.mark.parametrize(
    ("channel", "content"),
    [
        ("email", {"html": "&#" + "9" * 5000 + ";"}),
        ("email", {"subject": Bomb()}),
        ("sms", {"text": Bomb()}),
        ("push", {"title": Bomb()}),
        ("push", {"title": "x", "data": {"x": Bomb()}}),
        ("webhook", {"url": "https://x.example", "body": {Bomb(): 1}}),
    ],
)
def test_content_that_cannot_be_composed_is_final(channel: str, content: dict[str, Any]) -> None:
    """It fails again in every retry, so the activation ends, and its reason does not quote the customer."""
    with pytest.raises(Undeliverable) as refused:
        prepare(channel, content)
    assert refused.value.code in ("invalid_content", "invalid_body")
    assert "secret-value" not in str(refused.value)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_unexpected_error_is_final(error: Exception) -> None:
    """No error of Python is handed back to the queue."""
    with pytest.raises(Undeliverable) as refused, composing():
        raise error
    assert refused.value.code == "invalid_content"


def test_an_expected_error_keeps_its_meaning() -> None:
    """A reason stays the reason, and what may succeed later is retried."""
    with pytest.raises(Undeliverable) as refused, composing():
        raise Undeliverable("no address", code="no_address")
    assert refused.value.code == "no_address"
    with pytest.raises(Unavailable), composing():
        raise Unavailable("later", code="later")


def test_a_request_that_cannot_be_written_is_final() -> None:
    """The provider's client cannot encode half a surrogate pair; nothing was sent, and a retry would not help."""
    assert attempt("\ud800".encode) == DeliveryResult(State.FAILED_FINAL, "invalid_message")
