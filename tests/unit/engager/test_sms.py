"""Text messages: sent once, to a number in E.164 that has not replied STOP."""

from typing import Any

import pytest

from engager.channels.sms import Sms, SnsTexter, compose
from engager.ledger.states import DeliveryResult, State, Undeliverable
from tests.support.fake_sns import TIMED_OUT, UNREACHABLE, FakeSns, refusal

NUMBER = "+436601234567"
SMS = Sms(NUMBER, "Hi")


@pytest.mark.parametrize("written", [NUMBER, "+43 660 123-45-67", "+43 (660) 1234567", "+43.660.1234567"])
def test_separators_in_a_number_are_removed(written: str) -> None:
    """Spaces, dots, dashes and parentheses are dropped."""
    assert compose(written, {"text": " Hi "}) == SMS


@pytest.mark.parametrize(
    ("to", "code"),
    [
        (None, "no_phone"),
        ("", "no_phone"),
        ("06601234567", "invalid_phone"),
        ("+0660123456", "invalid_phone"),
        ("00436601234567", "invalid_phone"),
        ("+43660", "invalid_phone"),
        ("+4366012345678901", "invalid_phone"),
        ("+43660123456a", "invalid_phone"),
        ("+43660123456٧", "invalid_phone"),
        (f"{NUMBER},{NUMBER}", "invalid_phone"),
        (436601234567, "invalid_phone"),
        ([NUMBER], "invalid_phone"),
    ],
)
def test_an_invalid_number_is_refused(to: Any, code: str) -> None:
    """A number without a country code is not completed: it could reach another person."""
    with pytest.raises(Undeliverable) as refused:
        compose(to, {"text": "Hi"})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "empty_message"),
        ({"text": " \n"}, "empty_message"),
        ({"text": "x" * 1601}, "long_message"),
        ({"text": "\ud800"}, "template_error"),
        ({"text": "Hi", "sender_id": "123"}, "invalid_sender"),
        ({"text": "Hi", "sender_id": "much-too-long"}, "invalid_sender"),
        ({"text": "Hi", "sender_id": "a b"}, "invalid_sender"),
    ],
)
def test_invalid_content_fails_before_sending(content: dict[str, Any], code: str) -> None:
    """Empty and overlong texts, and sender ids that no network would show."""
    with pytest.raises(Undeliverable) as refused:
        compose(NUMBER, content)
    assert refused.value.code == code


def test_a_message_is_promotional_and_names_its_sender() -> None:
    """SNS gets the number, text, type and, if there is one, the sender id."""
    sns = FakeSns()
    assert SnsTexter(sns)(compose(NUMBER, {"text": "Hi", "sender_id": "MyShop"})) == DeliveryResult(
        State.SENT, provider_id="sns-1"
    )
    assert sns.published == [
        {
            "PhoneNumber": NUMBER,
            "Message": "Hi",
            "MessageAttributes": {
                "AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Promotional"},
                "AWS.SNS.SMS.SenderID": {"DataType": "String", "StringValue": "MyShop"},
            },
        }
    ]
    SnsTexter(sns)(SMS)
    assert list(sns.published[1]["MessageAttributes"]) == ["AWS.SNS.SMS.SMSType"]


def test_a_stop_is_honoured() -> None:
    """An opted-out number gets nothing, and the result says why."""
    sns = FakeSns(opted_out=frozenset({NUMBER}))
    assert SnsTexter(sns)(SMS) == DeliveryResult(State.SUPPRESSED, "opt_out")
    assert (sns.checked, sns.published) == ([NUMBER], [])


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (TIMED_OUT, DeliveryResult(State.FAILED_RETRYABLE, "ReadTimeoutError")),
        (UNREACHABLE, DeliveryResult(State.FAILED_RETRYABLE, "EndpointConnectionError")),
        (refusal("Throttled", 429), DeliveryResult(State.FAILED_RETRYABLE, "Throttled")),
        (refusal("InternalError", 500), DeliveryResult(State.FAILED_RETRYABLE, "InternalError")),
        (refusal("AuthorizationError", 403), DeliveryResult(State.FAILED_RETRYABLE, "AuthorizationError")),
        (refusal("InvalidParameter", 400), DeliveryResult(State.FAILED_FINAL, "invalid_phone")),
    ],
)
def test_a_failed_opt_out_check_sends_nothing(error: Exception, result: DeliveryResult) -> None:
    """The message is retried later, unless SNS refuses the number itself."""
    sns = FakeSns(check_error=error)
    assert SnsTexter(sns)(SMS) == result
    assert sns.published == []


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (TIMED_OUT, DeliveryResult(State.UNKNOWN, "ReadTimeoutError")),
        (refusal("InternalError", 500), DeliveryResult(State.UNKNOWN, "InternalError")),
        (UNREACHABLE, DeliveryResult(State.FAILED_RETRYABLE, "EndpointConnectionError")),
        (refusal("Throttling", 400), DeliveryResult(State.FAILED_RETRYABLE, "Throttling")),
        (refusal("InvalidParameter", 400), DeliveryResult(State.FAILED_FINAL, "InvalidParameter")),
    ],
)
def test_a_failure_is_named_and_never_repeated(error: Exception, result: DeliveryResult) -> None:
    """Refused, never sent or ambiguous: each is one publish."""
    sns = FakeSns(publish_error=error)
    assert SnsTexter(sns)(SMS) == result
    assert len(sns.published) == 1
