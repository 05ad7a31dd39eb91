"""Webhooks: a signed POST to a receiver that can tell a repeat by its ``Idempotency-Key``.

So whatever is not a clear refusal may be sent again: the receiver takes it once.

    2xx                                  sent
    408, 425, 429, 5xx, no answer        failed_retryable
    3xx, other 4xx, a private address    failed_final
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from engager.channels.webhook_address import Target, target
from engager.channels.webhook_wire import Post, WireFailed
from engager.ledger.states import Content, Outcome, State, Undeliverable
from shared.clock import Clock
from shared.contracts import Activation
from shared.signing import webhook_signature

RETRYABLE = frozenset({408, 425, 429})
MAX_BODY_BYTES = 256 * 1024


class Webhook(NamedTuple):
    """One request: where to, with which JSON, for which activation, signed with which key."""

    activation: str
    target: Target
    body: bytes
    key: str


def compose(activation: Activation, hosts: Sequence[str], content: Content, key: str) -> Webhook:
    """Return the request with *content*: ``url`` and, where the receiver wants its own shape, ``body``; rendered.

    ``body`` is any JSON value; without it the receiver gets the activation. Raises `Undeliverable`: invalid_url,
    forbidden_host, invalid_body, long_message.
    """
    where = target(content.get("url"), hosts)
    try:
        described = _described(activation) if content.get("body") is None else content["body"]
        body = json.dumps(described, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise Undeliverable(f"the body is not JSON: {type(error).__name__}", code="invalid_body") from error
    if len(body) > MAX_BODY_BYTES:
        raise Undeliverable(f"the body has more than {MAX_BODY_BYTES} bytes", code="long_message")
    return Webhook(activation.id, where, body, key)


class WebhookSender:
    """Sends a webhook by *post*; *clock* dates the signature."""

    def __init__(self, post: Post, clock: Clock) -> None:
        self._post = post
        self._clock = clock

    def __call__(self, webhook: Webhook) -> Outcome:
        """Send *webhook* once and return the outcome."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Opportune",
            "Idempotency-Key": webhook.activation,
            "Opportune-Signature": webhook_signature(webhook.key, self._clock() // 1000, webhook.body),
        }
        try:
            status = self._post(webhook.target, headers, webhook.body)
        except WireFailed as failure:
            return Outcome(State.FAILED_RETRYABLE if failure.retryable else State.FAILED_FINAL, failure.code)
        if 200 <= status < 300:
            return Outcome(State.SENT)
        retryable = status in RETRYABLE or status >= 500
        return Outcome(State.FAILED_RETRYABLE if retryable else State.FAILED_FINAL, f"http_{status}")


def _described(activation: Activation) -> dict[str, Any]:
    return {
        "activation": activation.id,
        "site": activation.site,
        "campaign": activation.campaign,
        "user": activation.user,
        "event": activation.event,
        "at": activation.at,
        "attributes": activation.attributes,
    }
