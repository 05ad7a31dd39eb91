"""The messages that the stand-ins for SES, SNS and webhook receivers accepted, in one shape."""

import http.client
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import msgspec

from opportune.system.errors import LocalStackError
from opportune.system.ports import HOST
from shared.channels import Outbound

PATH = "/opportune/accepted"
# The headers and attributes in which the Engager sends the activation's id.
_ACTIVATION = re.compile(r"idempotency-key|aws\.sns\.mobile\.apns\.collapse_id|activation", re.IGNORECASE)


class Accepted(msgspec.Struct, omit_defaults=True):
    """One accepted message.

    at: ms by the functions' clock
    to: addresses, phone numbers, the ARN of a push endpoint, or a URL
    id: given by the provider
    activation: id of the activation, if the message carries it
    subject: of an e-mail, or the title of a push
    text: text part of an e-mail, words of a text message or push, body of a webhook
    headers: of an e-mail or a webhook; the attributes of a text message or push
    payload: of a push, for all platforms
    """

    at: int
    channel: Outbound
    to: list[str]
    id: str = ""
    activation: str = ""
    sender: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    headers: dict[str, str] = {}
    payload: str = ""


def activation(headers: dict[str, str]) -> str:
    """Return the activation's id from the *headers* or attributes of a message, or an empty string."""
    return next((value for name, value in headers.items() if _ACTIVATION.fullmatch(name)), "")


def read_mail(raw: bytes) -> dict[str, Any]:
    """Return sender, subject, text, html and headers of a *raw* e-mail, decoded."""
    parsed: EmailMessage = message_from_bytes(raw, policy=policy.default)
    return {
        "sender": str(parsed["From"] or ""),
        "subject": str(parsed["Subject"] or ""),
        "text": _part(parsed, "plain"),
        "html": _part(parsed, "html"),
        "headers": {name: str(value) for name, value in parsed.items()},
    }


def fetch(aws_url: str, *, since: int = 0) -> list[Accepted]:
    """Return the messages that the AWS stand-in accepted since *since* (ms), oldest first."""
    address = urlsplit(aws_url)
    connection = http.client.HTTPConnection(address.hostname or HOST, address.port, timeout=10)
    try:
        connection.request("GET", f"{PATH}?since={since}")
        return msgspec.json.decode(connection.getresponse().read(), type=list[Accepted])
    except (OSError, http.client.HTTPException) as error:
        raise LocalStackError(f"the AWS stand-in at {aws_url} does not respond: {error}") from error
    finally:
        connection.close()


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""
