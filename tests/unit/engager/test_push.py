"""Push notifications: one payload per platform, with the activation as collapse id."""

import json
from typing import Any

import pytest

from engager.channels.push import Push, SnsPusher, compose
from engager.ledger.states import DeliveryResult, State, Undeliverable
from shared.contracts import Activation
from tests.support.fake_sns import TIMED_OUT, UNREACHABLE, FakeSns, refusal

ENDPOINT = "arn:aws:sns:eu-central-1:123456789012:endpoint/GCM/my-app/8f3c0d1e-1111-2222-3333-444455556666"
ID = "0123456789abcdef0123456789abcdef"


def push(content: dict[str, Any], endpoint: Any = ENDPOINT) -> Push:
    """Return the notification of an activation."""
    return compose(Activation(ID, "shop", "ada", "cart", 1, "push", 0, "Order", "m1"), endpoint, content)


def payload(given: Push, platform: str) -> Any:
    """Return the payload of *platform*."""
    return json.loads(json.loads(given.message)[platform])


FULL = {"title": "Grüße", "body": "Your cart waits", "url": "/cart", "data": {"cart": 7}}


@pytest.mark.parametrize("platform", ["APNS", "APNS_SANDBOX"])
def test_apple_gets_alert_and_data(platform: str) -> None:
    """The notification is under `aps`, and the app's data beside it."""
    assert payload(push(FULL), platform) == {
        "aps": {"alert": {"title": "Grüße", "body": "Your cart waits"}, "sound": "default"},
        "cart": "7",
        "url": "/cart",
        "activation": ID,
    }


def test_android_gets_notification_and_data() -> None:
    """The payload uses FCM's v1 interface, and a second copy replaces the first."""
    assert payload(push(FULL), "GCM") == {
        "fcmV1Message": {
            "message": {
                "notification": {"title": "Grüße", "body": "Your cart waits"},
                "data": {"cart": "7", "url": "/cart", "activation": ID},
                "android": {"collapse_key": ID, "notification": {"tag": ID}},
            }
        }
    }


def test_other_platforms_get_the_text() -> None:
    """The default is plain text: the body, or the title if there is no body."""
    assert json.loads(push(FULL).message)["default"] == "Your cart waits"
    assert json.loads(push({"title": "Hi"}).message)["default"] == "Hi"


def test_data_cannot_take_the_place_of_the_notification() -> None:
    """A data field with a reserved name does not replace it."""
    given = push({"title": "Hi", "data": {"aps": "x", "activation": "y"}})
    assert payload(given, "APNS") == {"aps": {"alert": {"title": "Hi"}, "sound": "default"}, "activation": ID}


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        (None, "no_endpoint"),
        ("", "no_endpoint"),
        ("arn:aws:sns:eu-central-1:123456789012:all-customers", "invalid_endpoint"),
        ("arn:aws:sns:eu-central-1:123456789012:app/GCM/my-app", "invalid_endpoint"),
        (f"{ENDPOINT}/x", "invalid_endpoint"),
        (7, "invalid_endpoint"),
        ([ENDPOINT], "invalid_endpoint"),
    ],
)
def test_only_one_devices_endpoint_is_one(endpoint: Any, code: str) -> None:
    """The ARN of a topic, which would reach every subscriber, is refused."""
    with pytest.raises(Undeliverable) as refused:
        push(FULL, endpoint)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [({}, "empty_message"), ({"body": "ü" * 2100}, "long_message"), ({"title": "\ud800"}, "template_error")],
)
def test_invalid_content_is_refused(content: dict[str, Any], code: str) -> None:
    """An empty notification, too many bytes, or unpaired surrogates."""
    with pytest.raises(Undeliverable) as refused:
        push(content)
    assert refused.value.code == code


def test_the_collapse_id_is_the_activation() -> None:
    """SNS gets the endpoint, one payload per platform, and the id for Apple's header."""
    sns = FakeSns()
    given = push(FULL)
    assert SnsPusher(sns)(given) == DeliveryResult(State.SENT, provider_id="sns-1")
    assert sns.published == [
        {
            "TargetArn": ENDPOINT,
            "Message": given.message,
            "MessageStructure": "json",
            "MessageAttributes": {
                "AWS.SNS.MOBILE.APNS.COLLAPSE_ID": {"DataType": "String", "StringValue": ID},
                "AWS.SNS.MOBILE.APNS.PUSH_TYPE": {"DataType": "String", "StringValue": "alert"},
            },
        }
    ]
    assert len(ID) <= 64


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (refusal("EndpointDisabled", 400), DeliveryResult(State.FAILED_FINAL, "EndpointDisabled")),
        (refusal("NotFound", 404), DeliveryResult(State.FAILED_FINAL, "NotFound")),
        (refusal("Throttling", 400), DeliveryResult(State.FAILED_RETRYABLE, "Throttling")),
        (UNREACHABLE, DeliveryResult(State.FAILED_RETRYABLE, "EndpointConnectionError")),
        (TIMED_OUT, DeliveryResult(State.FAILED_RETRYABLE, "ReadTimeoutError")),
        (refusal("InternalError", 500), DeliveryResult(State.FAILED_RETRYABLE, "InternalError")),
    ],
)
def test_an_ambiguous_push_may_be_retried(error: Exception, result: DeliveryResult) -> None:
    """A device shows a copy once, so only a refusal is final. The channel itself publishes once."""
    sns = FakeSns(publish_error=error)
    assert SnsPusher(sns)(push(FULL)) == result
    assert len(sns.published) == 1
