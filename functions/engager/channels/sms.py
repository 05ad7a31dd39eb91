"""The channel sms: text messages through SNS, to numbers that have not replied STOP.

SNS accepts a message to an opted-out number and drops it silently. So the number is checked first:

    opted out?  ── yes ─────────▶ suppressed: opt_out
                ── no answer ───▶ failed_retryable: nothing was sent
                ── no ──────────▶ publish, once ──▶ sent | failed_… | unknown

https://docs.aws.amazon.com/sns/latest/dg/sms_sending-overview.html
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from engager.channels import sns
from engager.channels.channel import ClientFactory, OutboundChannel, ProviderCall, composing
from engager.channels.provider import attempt
from engager.ledger.states import DeliveryResult, RenderedContent, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.addresses import InvalidAddress, phone_number
from shared.contracts import Activation

SENDER_ID = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{1,11}")
MAX_LENGTH = 1600


class Sms(NamedTuple):
    """One text message to one number in E.164; ``sender_id`` may be empty."""

    to: str
    text: str
    sender_id: str = ""


def channel(client: ClientFactory) -> OutboundChannel:
    """Return the channel."""

    def prepare(
        activation: Activation,  # noqa: ARG001 - one signature for all channels
        context: DeliveryContext,  # noqa: ARG001
        customer: Mapping[str, Any],
        content: RenderedContent,
    ) -> ProviderCall:
        with composing():
            sms = compose(customer.get("phone"), content)
        send = SnsTexter(client("sns"))
        return lambda: send(sms)

    return OutboundChannel(prepare)


def compose(to: Any, content: RenderedContent) -> Sms:
    """Return the message with *content*: ``text`` and, if the site has one, ``sender_id``, rendered.

    Raises `Undeliverable`: no_phone, invalid_phone, empty_message, long_message, invalid_sender, template_error.
    """
    if to is None or to == "":
        raise Undeliverable("the customer has no phone number", code="no_phone")
    try:
        number = phone_number(to)
    except InvalidAddress as error:
        raise Undeliverable(error.message, code=error.code) from error
    text = sns.check_encodable(str(content.get("text") or "").strip())
    if not text:
        raise Undeliverable("the rendered message is empty", code="empty_message")
    if len(text) > MAX_LENGTH:
        raise Undeliverable(f"the message is longer than {MAX_LENGTH} characters", code="long_message")
    sender_id = str(content.get("sender_id") or "")
    if sender_id and not SENDER_ID.fullmatch(sender_id):
        raise Undeliverable("a sender id has 1 to 11 letters, digits and '-'", code="invalid_sender")
    return Sms(number, text, sender_id)


class SnsTexter:
    """Sends a text message through SNS. An ambiguous call ends as `unknown`, because SNS cannot recognise a retry."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __call__(self, sms: Sms) -> DeliveryResult:
        """Send *sms* once, unless its number has opted out, and return the result."""
        responses: list[dict[str, Any]] = []

        def check_opt_out() -> dict[str, Any]:
            responses.append(self._client.check_if_phone_number_is_opted_out(phoneNumber=sms.to))
            return responses[-1]

        checked = attempt(check_opt_out, ambiguous=State.FAILED_RETRYABLE)
        if checked.reason == "InvalidParameter":
            return DeliveryResult(State.FAILED_FINAL, "invalid_phone")
        if checked.state is not State.SENT:
            # Nothing was sent yet, so every failure can be retried.
            return DeliveryResult(State.FAILED_RETRYABLE, checked.reason)
        if responses[-1].get("isOptedOut"):
            return DeliveryResult(State.SUPPRESSED, "opt_out")
        attributes = {"AWS.SNS.SMS.SMSType": "Promotional"}
        if sms.sender_id:
            attributes["AWS.SNS.SMS.SenderID"] = sms.sender_id
        return attempt(lambda: sns.publish(self._client, sms.text, attributes, PhoneNumber=sms.to))
