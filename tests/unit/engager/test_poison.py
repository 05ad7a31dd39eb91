"""A message that cannot be composed or written ends in one attempt, whatever the error is."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from engager.channels import email, push, sms, webhook
from engager.channels.outbound import outbound_channels
from engager.channels.provider import attempt
from engager.ledger.states import DeliveryResult, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Sender, Trigger
from shared.settings import ENGAGER, Settings

SETTINGS = Settings(ENGAGER, signing_secret="s" * 32, preferences_url="https://shop.example")
CHANNELS = {"email": email, "sms": sms, "push": push, "webhook": webhook}
CAMPAIGN = Campaign("c", "1", "C", Trigger(key="k", program={}, matchers=[], horizon=0), "email", {})
CONTEXT = DeliveryContext(campaign=CAMPAIGN, live=CAMPAIGN, sender=Sender("hello@shop.example"))
ENCODE = UnicodeEncodeError("utf-8", "", 0, 1, "")
ERRORS = [ValueError(), TypeError(), KeyError(), RecursionError(), MemoryError(), ENCODE]


def prepare(channel: str, **customer: Any) -> Callable[[], DeliveryResult]:
    """Prepare a message of *channel* with content for none of them."""
    activation = Activation("a1", "shop", "ada", "c", 1, channel, 0, "Order", "m1")
    return outbound_channels(SETTINGS, client=lambda _: None)[channel].prepare(activation, CONTEXT, customer, {})


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(("name", "module"), CHANNELS.items(), ids=list(CHANNELS))
def test_an_unexpected_error_is_final(
    name: str, module: ModuleType, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content fails again in every retry, so the activation ends, and its reason does not quote the customer."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "compose", fail)
    with pytest.raises(Undeliverable) as refused:
        prepare(name)
    assert refused.value.code == "invalid_content"


def test_an_expected_error_keeps_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason stays the reason, and what may succeed later is retried."""
    with pytest.raises(Undeliverable) as refused:
        prepare("email")
    assert refused.value.code == "no_address"

    def fail(*_: Any) -> None:
        raise Unavailable("later", code="later")

    monkeypatch.setattr(email, "compose", fail)
    with pytest.raises(Unavailable):
        prepare("email")


def test_a_request_that_cannot_be_written_is_final() -> None:
    """The provider's client cannot encode half a surrogate pair; nothing was sent, and a retry would not help."""
    assert attempt("\ud800".encode) == DeliveryResult(State.FAILED_FINAL, "invalid_message")
