"""Text messages: to a number in E.164 that has not said STOP, once."""

from typing import Any

import pytest

from engager.channels.sms import Sms, SnsTexter, compose
from engager.ledger.states import Outcome, State, Undeliverable
from tests.support.fake_sns import TIMED_OUT, UNREACHABLE, FakeSns, refusal

NUMBER = "+436601234567"
SMS = Sms(NUMBER, "Hi")


@pytest.mark.parametrize("written", [NUMBER, "+43 660 123-45-67", "+43 (660) 1234567", "+43.660.1234567"])
def test_a_number_is_sent_without_what_separates_it(written: str) -> None:
    """Blanks, dots, dashes and brackets are for people."""
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
def test_what_is_no_number_is_not_guessed_at(to: Any, code: str) -> None:
    """Without a country code nobody knows whom it would reach."""
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
def test_what_cannot_be_sent_fails_before_it_is(content: dict[str, Any], code: str) -> None:
    """An empty or endless text, and a sender that no network would show."""
    with pytest.raises(Undeliverable) as refused:
        compose(NUMBER, content)
    assert refused.value.code == code


def test_a_message_is_promotional_and_names_its_sender() -> None:
    """SNS gets number, text, type and, where there is one, the sender id."""
    sns = FakeSns()
    assert SnsTexter(sns)(compose(NUMBER, {"text": "Hi", "sender_id": "MyShop"})) == Outcome(
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
    """A number that has opted out gets nothing, and the ledger says why."""
    sns = FakeSns(opted_out=frozenset({NUMBER}))
    assert SnsTexter(sns)(SMS) == Outcome(State.SUPPRESSED, "opt_out")
    assert (sns.asked, sns.published) == ([NUMBER], [])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TIMED_OUT, Outcome(State.FAILED_RETRYABLE, "ReadTimeoutError")),
        (UNREACHABLE, Outcome(State.FAILED_RETRYABLE, "EndpointConnectionError")),
        (refusal("Throttled", 429), Outcome(State.FAILED_RETRYABLE, "Throttled")),
        (refusal("InternalError", 500), Outcome(State.FAILED_RETRYABLE, "InternalError")),
        (refusal("AuthorizationError", 403), Outcome(State.FAILED_RETRYABLE, "AuthorizationError")),
        (refusal("InvalidParameter", 400), Outcome(State.FAILED_FINAL, "invalid_phone")),
    ],
)
def test_without_an_answer_about_stop_nothing_is_sent(error: Exception, outcome: Outcome) -> None:
    """Not to know is not a yes; it is tried again later, unless SNS says that this is no number."""
    sns = FakeSns(check=error)
    assert SnsTexter(sns)(SMS) == outcome
    assert sns.published == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TIMED_OUT, Outcome(State.UNKNOWN, "ReadTimeoutError")),
        (refusal("InternalError", 500), Outcome(State.UNKNOWN, "InternalError")),
        (UNREACHABLE, Outcome(State.FAILED_RETRYABLE, "EndpointConnectionError")),
        (refusal("Throttling", 400), Outcome(State.FAILED_RETRYABLE, "Throttling")),
        (refusal("InvalidParameter", 400), Outcome(State.FAILED_FINAL, "InvalidParameter")),
    ],
)
def test_a_failure_is_named_and_never_repeated(error: Exception, outcome: Outcome) -> None:
    """Refused, never left, or nobody knows: one publish in each case."""
    sns = FakeSns(fails=error)
    assert SnsTexter(sns)(SMS) == outcome
    assert len(sns.published) == 1
