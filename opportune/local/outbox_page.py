"""The outbox as a page, and as JSON for programs."""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import msgspec

from opportune.local.accepted import Accepted
from opportune.local.http_server import Handler, Request, Response

PATH, JSON_PATH = "/outbox", "/outbox.json"
MAX_SHOWN = 200
LABELS = {"email": "E-mail", "sms": "Text message", "push": "Push", "webhook": "Webhook"}
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
# Open links of an e-mail in a new tab: the frame would block them.
_BASE = '<base target="_blank">'


def pages(accepted: Callable[[], Sequence[Accepted]], *, speed: float = 1.0) -> Mapping[str, Handler]:
    """Return the outbox's pages by path.

    accepted: returns the messages, oldest first
    speed: of the functions' clock
    """

    def page(_: Request) -> Response:
        nonce = secrets.token_urlsafe(12)
        # The policy also applies to the frames with e-mails: they load nothing and run nothing.
        policy = (
            f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'nonce-{nonce}'; "
            "connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
        )
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", policy)]
        return Response(200, render(accepted(), nonce=nonce, speed=speed).encode(), [*headers, *_PRIVATE])

    def data(_: Request) -> Response:
        body = msgspec.json.encode(accepted())
        return Response(200, body, [("Content-Type", "application/json"), *_PRIVATE])

    return {PATH: page, JSON_PATH: data}


_PRIVATE = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]


def render(messages: Sequence[Accepted], *, nonce: str, speed: float = 1.0) -> str:
    """Return the page with the newest 200 *messages*, the newest first; *nonce* allows its script."""
    import liquid  # noqa: PLC0415 - other commands import this module too, and do not need Liquid

    environment = liquid.Environment(autoescape=True, undefined=liquid.StrictUndefined)
    template = environment.from_string(files("opportune.local").joinpath("outbox.html").read_text("utf-8"))
    shown = list(reversed(messages))[:MAX_SHOWN]
    count = f"{len(messages):,} messages" if len(messages) != 1 else "1 message"
    if len(messages) > len(shown):
        count += f", the newest {len(shown)} shown"
    return template.render(
        nonce=nonce, speed=f"{speed:g}", count=count, messages=[_fields(message) for message in shown]
    )


def _fields(message: Accepted) -> dict[str, Any]:
    at = datetime.fromtimestamp(message.at / 1000, UTC)
    # Position and number of a message change when old ones are dropped, so a hash identifies it.
    key = hashlib.sha256(msgspec.json.encode(message)).hexdigest()[:16]
    kind = message.channel
    parts = {"Payload": message.payload}
    if message.html or kind == "webhook":
        parts["Text part" if message.html else "Body"] = message.text
    return {
        "key": f"m-{key}",
        "channel": kind,
        "label": LABELS[kind],
        "to": ", ".join(message.to),
        "iso": at.isoformat(timespec="seconds"),
        "time": f"{at:%Y-%m-%d %H:%M:%S}",
        "subject": message.subject,
        "html": framed(message.html) if message.html else "",
        "words": "" if message.text in parts.values() else message.text,
        "parts": [{"title": title, "text": readable(text)} for title, text in parts.items() if text],
        "headers_title": "Attributes" if kind in ("sms", "push") else "Headers",
        "headers": list(message.headers.items()),
        "activation": message.activation,
    }


def framed(html: str) -> str:
    """Return the *html* of an e-mail, changed so that links open a new tab. A doctype stays first."""
    doctype = _DOCTYPE.match(html)
    end = doctype.end() if doctype else 0
    return html[:end] + _BASE + html[end:]


def readable(text: str) -> str:
    """Return *text* indented if it is JSON, else unchanged."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text
