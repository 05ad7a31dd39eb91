"""The channel push: notifications through SNS, to the endpoint of one device.

Every notification carries its activation's id as collapse id, so a device that gets it twice shows it once. An
ambiguous call may therefore be retried.
https://docs.aws.amazon.com/sns/latest/dg/sns-send-custom-platform-specific-payloads-mobile-devices.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from engager.channels import sns
from engager.channels.channel import ClientFactory, OutboundChannel, ProviderCall, composing
from engager.channels.provider import attempt
from engager.ledger.states import DeliveryResult, RenderedContent, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.contracts import Activation

ENDPOINT = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:endpoint/[A-Za-z0-9_]+/[A-Za-z0-9_.-]+/[A-Za-z0-9-]+")
MAX_PAYLOAD_BYTES = 4096  # of APNs and of FCM
APNS_ATTRIBUTES = "AWS.SNS.MOBILE.APNS."


class Push(NamedTuple):
    """One notification to one SNS platform endpoint; ``message`` is JSON with one payload per platform."""

    endpoint: str
    message: str
    collapse_id: str


def channel(client: ClientFactory) -> OutboundChannel:
    """Return the channel."""

    def prepare(
        activation: Activation,
        context: DeliveryContext,  # noqa: ARG001 - one signature for all channels
        customer: Mapping[str, Any],
        content: RenderedContent,
    ) -> ProviderCall:
        with composing():
            push = compose(activation, customer.get("push_endpoint"), content)
        send = SnsPusher(client("sns"))
        return lambda: send(push)

    return OutboundChannel(prepare)


def compose(activation: Activation, endpoint: Any, content: RenderedContent) -> Push:
    """Return the notification with *content*: ``title``, ``body``, ``url``, ``data`` (strings by name), rendered.

    The app finds ``url``, ``activation`` and the fields of ``data`` beside the notification.
    Raises `Undeliverable`: no_endpoint, invalid_endpoint, empty_message, long_message, template_error.
    """
    if endpoint is None or endpoint == "":
        raise Undeliverable("the customer has no push endpoint", code="no_endpoint")
    if not isinstance(endpoint, str) or not ENDPOINT.fullmatch(endpoint):
        raise Undeliverable("expected the ARN of an SNS platform endpoint", code="invalid_endpoint")
    title, body = str(content.get("title") or ""), str(content.get("body") or "")
    if not title and not body:
        raise Undeliverable("the rendered notification is empty", code="empty_message")
    data = {name: str(value) for name, value in (content.get("data") or {}).items()}
    if content.get("url"):
        data["url"] = str(content["url"])
    data["activation"] = activation.id
    notification = {name: text for name, text in (("title", title), ("body", body)) if text}
    apns = _json({**data, "aps": {"alert": notification, "sound": "default"}})
    # The tag replaces a notification that is shown; the collapse key replaces one that waits for the device.
    android = {"collapse_key": activation.id, "notification": {"tag": activation.id}}
    fcm = _json({"fcmV1Message": {"message": {"notification": notification, "data": data, "android": android}}})
    if max(len(apns.encode()), len(fcm.encode())) > MAX_PAYLOAD_BYTES:
        raise Undeliverable(f"the notification is longer than {MAX_PAYLOAD_BYTES} bytes", code="long_message")
    platforms = {"default": body or title, "APNS": apns, "APNS_SANDBOX": apns, "GCM": fcm}
    return Push(endpoint, _json(platforms), activation.id)


class SnsPusher:
    """Sends a notification through SNS. A disabled endpoint is final: the app or the platform has dropped it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, push: Push) -> DeliveryResult:
        """Send *push* once and return the result."""
        attributes = {f"{APNS_ATTRIBUTES}COLLAPSE_ID": push.collapse_id, f"{APNS_ATTRIBUTES}PUSH_TYPE": "alert"}
        return attempt(
            lambda: sns.publish(
                self._client, push.message, attributes, TargetArn=push.endpoint, MessageStructure="json"
            ),
            ambiguous=State.FAILED_RETRYABLE,
        )


def _json(value: dict[str, Any]) -> str:
    # Not escaped, because platforms count bytes: a non-ASCII letter takes two or three, its escape takes six.
    return sns.check_encodable(json.dumps(value, ensure_ascii=False))
