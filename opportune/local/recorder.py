"""Between the functions and moto: notes what SES and SNS accepted, and shortens delays for a fast clock.

moto forgets when a message came, its tags and attributes, and the texts of mails that are not raw. It also
delays messages by the wall clock, which is too long where the functions' clock runs faster. A mail to unknown@… is
accepted, and the call answered with an error all the same.
"""

import base64
import io
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from werkzeug.wrappers import Response

from opportune.local.accepted import PATH, Accepted, activation, read_mail
from opportune.local.mail_events import UNKNOWN, simulated
from shared.clock import Clock

MAX_KEPT = 5_000
_SEND_MAIL = "/v2/email/outbound-emails"
_RESET = "/moto-api/reset"
_DELAYED = ("AmazonSQS.SendMessage", "AmazonSQS.SendMessageBatch")

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class Recorder:
    """A WSGI application in front of *app*, which is moto's; it keeps the last 5,000 messages.

    *clock*: of the functions, which runs *speed* times as fast as the wall clock.
    """

    def __init__(self, app: Application, clock: Clock, *, speed: float = 1.0) -> None:
        self._app = app
        self._clock = clock
        self._speed = speed
        self._accepted: deque[Accepted] = deque(maxlen=MAX_KEPT)
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == PATH:
            since = int(dict(parse_qsl(environ.get("QUERY_STRING", ""))).get("since", 0))
            with self._lock:
                told = msgspec.json.encode([each for each in self._accepted if each.at >= since])
            return Response(told, mimetype="application/json")(environ, start_response)
        body = self._shortened(environ, _body(environ))
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        answer = Response.from_app(self._app, environ, buffered=True)
        if answer.status_code == 200:
            if path == _RESET:
                with self._lock:
                    self._accepted.clear()
            elif self._note(path, body, answer):
                answer = Response('{"message": "accepted, but who knows"}', 500, mimetype="application/json")
        return answer(environ, start_response)

    def _note(self, path: str, body: bytes, answer: Response) -> bool:
        """Keep what was accepted; return whether its sender must not hear of that."""
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

    def _shortened(self, environ: Environ, body: bytes) -> bytes:
        """Return *body* with the delays of SQS messages by the wall clock, in whole seconds, never too short."""
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
    """Return the text message or push that was published; None where it went to a topic."""
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
    """Find title, text and activation in what each platform would get; the first that has one wins."""
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
    """Yield *payload* and every object in it."""
    if isinstance(payload, dict):
        yield payload
        for value in payload.values():
            yield from _parts(value)
