"""An outbound channel: it prepares one call to its provider. That call is then made once.

prepare ── everything that can fail by itself: address, text, size, URL, client ──▶ Undeliverable
└──▶ the ledger's claim ──▶ the prepared call: one request ──▶ DeliveryResult
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from engager.ledger.states import DeliveryResult, RenderedContent, Undeliverable
from engager.rulesets import DeliveryContext
from shared.contracts import Activation
from shared.errors import OpportuneError

# Makes the AWS client of a service, such as "sns".
ClientFactory = Callable[[str], Any]
# Sends a prepared message. It never raises and never retries.
ProviderCall = Callable[[], DeliveryResult]
# Activation, its context, the customer's attributes, the rendered content → the call to make.
# Raises `Undeliverable` for everything that would fail anyway.
Prepare = Callable[[Activation, DeliveryContext, Mapping[str, Any], RenderedContent], ProviderCall]


class OutboundChannel(NamedTuple):
    """``needs_customer``: whether the message goes to the customer, so that an unknown user cannot get it."""

    prepare: Prepare
    needs_customer: bool = True


@contextmanager
def composing() -> Generator[None, None, None]:
    """Turn every unexpected error into `Undeliverable`, with code ``invalid_content``.

    Composing a message needs nothing but its content. So it fails again in every retry, and a message that is handed
    back would never end.
    """
    try:
        yield
    except OpportuneError:
        raise
    except Exception as error:
        # Without the error's text, which may quote the customer.
        raise Undeliverable(f"{type(error).__name__} in the content", code="invalid_content") from error
