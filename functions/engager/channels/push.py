"""Push notifications through SNS, to the endpoint of one device.

Every notification carries its activation's id as collapse id: a device that gets it twice shows it once. So an
ambiguous call may be made again.
https://docs.aws.amazon.com/sns/latest/dg/sns-send-custom-platform-specific-payloads-mobile-devices.html
"""

import json
import re
from typing import Any, NamedTuple

from engager.channels import sns
from engager.channels.provider import attempt
from engager.ledger.states import Content, Outcome, State, Undeliverable
from shared.contracts import Activation

ENDPOINT = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:endpoint/[A-Za-z0-9_]+/[A-Za-z0-9_.-]+/[A-Za-z0-9-]+")
MAX_PAYLOAD_BYTES = 4096  # of APNs and of FCM
APNS_ATTRIBUTES = "AWS.SNS.MOBILE.APNS."


class Push(NamedTuple):
    """One notification to one SNS platform endpoint; ``message`` is the JSON with a payload per platform."""

    endpoint: str
    message: str
    collapse_id: str


def compose(activation: Activation, endpoint: Any, content: Content) -> Push:
    """Return the notification with *content*: ``title``, ``body``, ``url``, ``data`` (texts by name), rendered.

    The app finds ``url``, ``activation`` and the fields of ``data`` beside the notification. Raises
    `Undeliverable`: no_endpoint, invalid_endpoint, empty_message, long_message, template_error.
    """
    if endpoint is None or endpoint == "":
        raise Undeliverable("the customer has no device to push to", code="no_endpoint")
    if not isinstance(endpoint, str) or not ENDPOINT.fullmatch(endpoint):
        raise Undeliverable("this is not the ARN of an SNS platform endpoint", code="invalid_endpoint")
    title, body = str(content.get("title") or ""), str(content.get("body") or "")
    if not title and not body:
        raise Undeliverable("the notification came out empty", code="empty_message")
    data = {name: str(value) for name, value in (content.get("data") or {}).items()}
    if content.get("url"):
        data["url"] = str(content["url"])
    data["activation"] = activation.id
    notification = {name: text for name, text in (("title", title), ("body", body)) if text}
    apns = _json({**data, "aps": {"alert": notification, "sound": "default"}})
    # The tag replaces what is shown already, the collapse key what waits for the device.
    android = {"collapse_key": activation.id, "notification": {"tag": activation.id}}
    fcm = _json({"fcmV1Message": {"message": {"notification": notification, "data": data, "android": android}}})
    if max(len(apns.encode()), len(fcm.encode())) > MAX_PAYLOAD_BYTES:
        raise Undeliverable(f"the notification has more than {MAX_PAYLOAD_BYTES} bytes", code="long_message")
    platforms = {"default": body or title, "APNS": apns, "APNS_SANDBOX": apns, "GCM": fcm}
    return Push(endpoint, _json(platforms), activation.id)


class SnsPusher:
    """Sends a notification by SNS. A disabled endpoint is final: the app gave it up, or the platform did."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, push: Push) -> Outcome:
        """Send *push* once and return the outcome."""
        values = {f"{APNS_ATTRIBUTES}COLLAPSE_ID": push.collapse_id, f"{APNS_ATTRIBUTES}PUSH_TYPE": "alert"}
        return attempt(
            lambda: self._client.publish(
                TargetArn=push.endpoint,
                Message=push.message,
                MessageStructure="json",
                MessageAttributes=sns.attributes(values),
            ),
            ambiguous=State.FAILED_RETRYABLE,
        )


def _json(value: dict[str, Any]) -> str:
    # The platforms count bytes: a letter beyond ASCII is two or three, escaped it would be six.
    return sns.sendable(json.dumps(value, ensure_ascii=False))
