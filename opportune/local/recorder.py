"""Record what SES and SNS accepted, in front of moto, and adapt moto to a fast clock.

moto does not keep the time of a message, its tags and attributes, or the text of e-mails that are not raw.
It also delays messages by the wall clock, which is too long if the functions' clock runs faster. An e-mail
to unknown@… is accepted although the call fails. Every sender counts as verified, because no mail leaves the machine.
"""

import base64
import io
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from email.utils import parseaddr
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from werkzeug.wrappers import Response

from opportune.local.accepted import PATH, Accepted, activation, read_mail
from opportune.local.mail_events import UNKNOWN, simulated
from shared.clock import Clock

MAX_KEPT = 5_000
_SEND_MAIL = "/v2/email/outbound-emails"
_IDENTITIES = "/v2/email/identities"
_RESET = "/moto-api/reset"
_DELAYED = ("AmazonSQS.SendMessage", "AmazonSQS.SendMessageBatch")

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Recorder:
    """A WSGI application in front of moto's *app*; it keeps the last 5,000 messages.

    clock: of the functions
    speed: how many times as fast as the wall clock it runs
    """

    def __init__(self, app: Application, clock: Clock, *, speed: float = 1.0) -> None:
        self._app = app
        self._clock = clock
        self._speed = speed
        self._accepted: deque[Accepted] = deque(maxlen=MAX_KEPT)
        self._lock = threading.Lock()
        self._verified: set[str] = set()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Handle one request."""
        path = environ["PATH_INFO"]
        if path == PATH:
            since = int(dict(parse_qsl(environ.get("QUERY_STRING", ""))).get("since", 0))
            with self._lock:
                found = msgspec.json.encode([each for each in self._accepted if each.at >= since])
            return Response(found, mimetype="application/json")(environ, start_response)
        body = self._shorten_delays(environ, _body(environ))
        if path == _SEND_MAIL:
            self._verify_sender(environ, body)
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        answer = Response.from_app(self._app, environ, buffered=True)
        if answer.status_code == 200:
            if path == _RESET:
                with self._lock:
                    self._accepted.clear()
                self._verified.clear()
            elif self._record(path, body, answer):
                answer = Response('{"message": "accepted, reported as failed"}', 500, mimetype="application/json")
        return answer(environ, start_response)

    def _record(self, path: str, body: bytes, answer: Response) -> bool:
        """Record an accepted message; return whether the call has to fail all the same."""
        found: Accepted | None
        if path == _SEND_MAIL:
            found = _mail(msgspec.json.decode(body), msgspec.json.decode(answer.get_data()))
        elif body.startswith(b"Action=Publish&"):
            found = _published(dict(parse_qsl(body.decode(), keep_blank_values=True)), answer.get_data(as_text=True))
        else:
            return False
        if found is None:
            return False
        with self._lock:
            found.at = self._clock()
            self._accepted.append(found)
        return found.channel == "email" and simulated(found.to) == UNKNOWN

    def _verify_sender(self, environ: Environ, body: bytes) -> None:
        """Make the sender of an e-mail an identity of SES, as operators do for their own domains."""
        request = msgspec.json.decode(body)
        address = parseaddr(request.get("FromEmailAddress") or _mail(request, {}).sender)[1]
        if address and address not in self._verified:
            identity = msgspec.json.encode({"EmailIdentity": address})
            with_identity = {
                **{name: value for name, value in environ.items() if name not in ("RAW_URI", "REQUEST_URI")},
                "PATH_INFO": _IDENTITIES,
                "wsgi.input": io.BytesIO(identity),
                "CONTENT_LENGTH": str(len(identity)),
            }
            Response.from_app(self._app, with_identity, buffered=True)
            self._verified.add(address)

    def _shorten_delays(self, environ: Environ, body: bytes) -> bytes:
        """Return *body* with SQS delays converted to the wall clock, rounded up to whole seconds."""
        if self._speed == 1 or environ.get("HTTP_X_AMZ_TARGET") not in _DELAYED:
            return body
        request = msgspec.json.decode(body)
        for message in request.get("Entries") or [request]:
            if "DelaySeconds" in message:
                message["DelaySeconds"] = math.ceil(message["DelaySeconds"] / self._speed)
        return msgspec.json.encode(request)


def _body(environ: Environ) -> bytes:
    return bytes(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))


def _mail(request: dict[str, Any], answer: dict[str, Any]) -> Accepted:
    destination = request.get("Destination") or {}
    to = [each for kind in ("ToAddresses", "CcAddresses", "BccAddresses") for each in destination.get(kind) or ()]
    mail = Accepted(0, "email", to, id=answer.get("MessageId") or "", sender=request.get("FromEmailAddress") or "")
    tags = {tag["Name"]: tag["Value"] for tag in request.get("EmailTags") or ()}
    mail.activation = tags.get("activation_id", "")
    content = request.get("Content") or {}
    if "Raw" in content:
        for name, value in read_mail(base64.b64decode(content["Raw"]["Data"])).items():
            setattr(mail, name, value or getattr(mail, name))
    elif "Simple" in content:
        parts = content["Simple"].get("Body") or {}
        mail.subject = content["Simple"]["Subject"]["Data"]
        mail.text = (parts.get("Text") or {}).get("Data", "")
        mail.html = (parts.get("Html") or {}).get("Data", "")
    return mail


def _published(form: dict[str, str], answer: str) -> Accepted | None:
    """Return the published text message or push, or None for a message to a topic."""
    number, target = form.get("PhoneNumber"), form.get("TargetArn", "")
    if not number and ":endpoint/" not in target:
        return None
    attributes = _attributes(form)
    push = Accepted(
        0,
        "sms" if number else "push",
        [number or target],
        id=answer.partition("<MessageId>")[2].partition("</MessageId>")[0],
        activation=activation(attributes),
        sender=attributes.get("AWS.SNS.SMS.SenderID", ""),
        subject=form.get("Subject", ""),
        text=form.get("Message", ""),
        headers=attributes,
    )
    if form.get("MessageStructure") == "json":
        _read_push(push)
    return push


def _attributes(form: dict[str, str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    number = 1
    while name := form.get(f"MessageAttributes.entry.{number}.Name"):
        attributes[name] = form.get(f"MessageAttributes.entry.{number}.Value.StringValue", "")
        number += 1
    return attributes


def _read_push(push: Accepted) -> None:
    """Set title, text and activation of *push* from its payloads by platform; the first that has one wins."""
    push.payload, push.text = push.text, ""
    platforms = msgspec.json.decode(push.payload)
    for platform in platforms.values():
        try:
            payload = msgspec.json.decode(platform)
        except msgspec.DecodeError:
            continue
        for part in _parts(payload):
            push.subject = push.subject or str(part.get("title") or "")
            push.text = push.text or str(part.get("body") or "")
            push.activation = push.activation or activation({k: v for k, v in part.items() if isinstance(v, str)})
    push.text = push.text or str(platforms.get("default", ""))


def _parts(payload: Any) -> Iterable[dict[str, Any]]:
    """Yield *payload* and every object inside it."""
    if isinstance(payload, dict):
        yield payload
        for value in payload.values():
            yield from _parts(value)
