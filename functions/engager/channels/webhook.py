"""The channel webhook: a signed POST. The receiver recognises a retry by its ``Idempotency-Key``.

So everything but a definite refusal may be retried:

    2xx                                  sent
    408, 425, 429, 5xx, no answer        failed_retryable
    3xx, other 4xx, a private address    failed_final
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from engager.channels.channel import OutboundChannel, ProviderCall, composing
from engager.channels.webhook_address import Target, parse_target
from engager.channels.webhook_wire import Post, PostFailed, https_post, sink_post
from engager.ledger.states import DeliveryResult, RenderedContent, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.clock import Clock
from shared.contracts import Activation
from shared.settings import Settings
from shared.signing import webhook_key, webhook_signature

RETRYABLE = frozenset({408, 425, 429})
MAX_BODY_BYTES = 256 * 1024


class Webhook(NamedTuple):
    """One request: the activation's id, the target, the JSON body and the key that signs it."""

    activation: str
    target: Target
    body: bytes
    key: str


def channel(settings: Settings, post: Post | None = None) -> OutboundChannel:
    """Return the channel. *post* sends a request; by default over HTTPS, or to the sink of *settings*."""

    @cache
    def sender() -> WebhookSender:
        sink = settings.webhook_sink
        return WebhookSender(post or (sink_post(sink) if sink else https_post()), settings.clock)

    def prepare(
        activation: Activation,
        context: DeliveryContext,
        customer: Mapping[str, Any],  # noqa: ARG001 - one signature for all channels
        content: RenderedContent,
    ) -> ProviderCall:
        key = webhook_key(settings.signing_secret, activation.site)
        with composing():
            webhook = compose(activation, context.webhook_hosts, content, key)
        send = sender()
        return lambda: send(webhook)

    return OutboundChannel(prepare, needs_customer=False)


def compose(activation: Activation, hosts: Sequence[str], content: RenderedContent, key: str) -> Webhook:
    """Return the request with *content*: ``url`` and, if the receiver wants its own format, ``body``; rendered.

    ``body`` is any JSON value. Without it, the request describes the activation.
    Raises `Undeliverable`: invalid_url, forbidden_host, invalid_body, long_message.
    """
    where = parse_target(content.get("url"), hosts)
    try:
        payload = _description(activation) if content.get("body") is None else content["body"]
        body = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Undeliverable(f"the body is not JSON: {type(error).__name__}", code="invalid_body") from error
    if len(body) > MAX_BODY_BYTES:
        raise Undeliverable(f"the body is longer than {MAX_BODY_BYTES} bytes", code="long_message")
    return Webhook(activation.id, where, body, key)


class WebhookSender:
    """Sends a webhook with *post*; *clock* dates the signature."""

    def __init__(self, post: Post, clock: Clock) -> None:
        self._post = post
        self._clock = clock

    def __call__(self, webhook: Webhook) -> DeliveryResult:
        """Send *webhook* once and return the result."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Opportune",
            "Idempotency-Key": webhook.activation,
            "Opportune-Signature": webhook_signature(webhook.key, self._clock() // 1000, webhook.body),
        }
        try:
            status = self._post(webhook.target, headers, webhook.body)
        except PostFailed as failure:
            return DeliveryResult(State.FAILED_RETRYABLE if failure.retryable else State.FAILED_FINAL, failure.code)
        if 200 <= status < 300:
            return DeliveryResult(State.SENT)
        retryable = status in RETRYABLE or status >= 500
        return DeliveryResult(State.FAILED_RETRYABLE if retryable else State.FAILED_FINAL, f"http_{status}")


def _description(activation: Activation) -> dict[str, Any]:
    return {
        "activation": activation.id,
        "site": activation.site,
        "campaign": activation.campaign,
        "user": activation.user,
        "event": activation.event,
        "at": activation.at,
        "attributes": activation.attributes,
    }
