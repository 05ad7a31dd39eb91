"""Amazon SNS, for messages to one telephone number or one device: nothing here has a topic."""

from collections.abc import Mapping
from typing import Any

from engager.channels.provider import READ_TIMEOUT_S, client
from engager.ledger.states import Undeliverable

Attributes = dict[str, dict[str, str]]


def sns_client(*, read_timeout_s: float = READ_TIMEOUT_S, **options: Any) -> Any:
    """Return an SNS client that calls once; *options* go to boto3."""
    return client("sns", read_timeout_s=read_timeout_s, **options)


def sendable(text: str) -> str:
    """Return *text*; raises `Undeliverable` where it holds halves of characters, which no request can carry."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Undeliverable("the content is not valid Unicode", code="template_error") from error
    return text


def attributes(values: Mapping[str, str]) -> Attributes:
    """Return *values* as the message attributes of a publish call, all of them texts."""
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}
