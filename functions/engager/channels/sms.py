"""Text messages through SNS, to numbers that have not said STOP.

SNS takes a message to a number that has opted out and drops it without a word, so the number is asked about first:

    opted out?  ── yes ─────────▶ suppressed: opt_out
                ── no answer ───▶ failed_retryable: nothing was sent
                ── no ──────────▶ publish, once ──▶ sent | failed_… | unknown

https://docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html
"""

import re
from typing import Any, NamedTuple

from engager.channels import sns
from engager.channels.provider import attempt
from engager.ledger.states import Content, Outcome, State, Undeliverable

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
SEPARATORS = re.compile(r"[\s().-]+")
SENDER_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{1,11}")
MAX_LENGTH = 1600


class Sms(NamedTuple):
    """One text message to one number in E.164; ``sender_id`` may be empty."""

    to: str
    text: str
    sender_id: str = ""


def compose(to: Any, content: Content) -> Sms:
    """Return the message with *content*: ``text`` and, where the site has one, ``sender_id``; already rendered.

    Raises `Undeliverable`: no_phone, invalid_phone, empty_message, long_message, invalid_sender,
    template_error.
    """
    if to is None or to == "":
        raise Undeliverable("the customer has no telephone number", code="no_phone")
    number = SEPARATORS.sub("", to) if isinstance(to, str) else ""
    if not E164.fullmatch(number):
        raise Undeliverable("this is not a telephone number in E.164, such as +436601234567", code="invalid_phone")
    text = sns.sendable(str(content.get("text") or "").strip())
    if not text:
        raise Undeliverable("the message came out empty", code="empty_message")
    if len(text) > MAX_LENGTH:
        raise Undeliverable(f"the message has more than {MAX_LENGTH} characters", code="long_message")
    sender_id = str(content.get("sender_id") or "")
    if sender_id and not SENDER_ID.fullmatch(sender_id):
        raise Undeliverable("a sender id has 1 to 11 letters, digits and '-'", code="invalid_sender")
    return Sms(number, text, sender_id)


class SnsTexter:
    """Sends a text message by SNS. An ambiguous call is `unknown`: nobody can recognise a repeat."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, sms: Sms) -> Outcome:
        """Send *sms* once, unless its receiver has opted out, and return the outcome."""
        answers: list[dict[str, Any]] = []

        def ask() -> dict[str, Any]:
            answers.append(self._client.check_if_phone_number_is_opted_out(phoneNumber=sms.to))
            return answers[-1]

        asked = attempt(ask, ambiguous=State.FAILED_RETRYABLE)
        if asked.reason == "InvalidParameter":
            return Outcome(State.FAILED_FINAL, "invalid_phone")
        if asked.state is not State.SENT:
            # Whatever the reason, no message was sent.
            return Outcome(State.FAILED_RETRYABLE, asked.reason)
        if answers[-1].get("isOptedOut"):
            return Outcome(State.SUPPRESSED, "opt_out")
        values = {"AWS.SNS.SMS.SMSType": "Promotional"}
        if sms.sender_id:
            values["AWS.SNS.SMS.SenderID"] = sms.sender_id
        return attempt(
            lambda: self._client.publish(PhoneNumber=sms.to, Message=sms.text, MessageAttributes=sns.attributes(values))
        )
