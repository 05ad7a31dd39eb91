"""Amazon SNS, which sends text messages and pushes: to one number or one device, never to a topic."""

from collections.abc import Mapping
from typing import Any

from engager.ledger.states import Undeliverable

MessageAttributes = dict[str, dict[str, str]]


def check_encodable(text: str) -> str:
    """Return *text*; raise `Undeliverable` if it has unpaired surrogates, which no request can carry."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Undeliverable("the content is not valid Unicode", code="template_error") from error
    return text


def _message_attributes(values: Mapping[str, str]) -> MessageAttributes:
    """Return *values* as the string attributes of a publish call."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}


def publish(client: Any, message: str, attributes: Mapping[str, str], **request: Any) -> Any:
    """Publish *message* with *attributes*; *request* says to whom. Returns the response, raises AWS errors."""
    return client.publish(Message=message, MessageAttributes=_message_attributes(attributes), **request)
