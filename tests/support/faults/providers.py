"""Fake providers: SES, SNS, EventBridge Scheduler and a webhook receiver; see `tests.support.faults.provider`."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.faults.history import History
from tests.support.faults.invariants import TEXT
from tests.support.faults.provider import Call, Mode, Provider, Reply, Request

XML = (("Content-Type", "text/xml"),)
XMLNS = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"'


class Ses(Provider):
    """SES v2: SendEmail."""

    def call(self, request: Request) -> Call:
        """Return the activation in the tags."""
        tags = {tag["Name"]: tag["Value"] for tag in json.loads(request.body).get("EmailTags", [])}
        return Call("ses", tags.get("activation_id", ""))

    def reply(self, request: Request, mode: Mode) -> Reply:  # noqa: ARG002 - one signature for all
        """Return a message id."""
        return Reply(200, json.dumps({"MessageId": f"ses-{self.call(request).activation}"}).encode())


class Sns(Provider):
    """SNS: Publish. A text message cannot carry an activation: its text is `TEXT` and a message id."""

    throttled = Reply(
        400,
        f"<ErrorResponse {XMLNS}><Error><Type>Sender</Type><Code>Throttling</Code></Error></ErrorResponse>".encode(),
        XML,
    )

    def agrees(self) -> bool:
        """Return whether its response means acceptance."""
        return True

    def question(self, request: Request) -> Reply | None:
        """No number has opted out."""
        if b"Action=CheckIfPhoneNumberIsOptedOut" not in request.body:
            return None
        return _told("CheckIfPhoneNumberIsOptedOut", "<isOptedOut>false</isOptedOut>")

    def call(self, request: Request) -> Call:
        """Return the activation of a notification, or the message of a text."""
        form = dict(parse_qsl(request.body.decode()))
        if "PhoneNumber" in form:
            return Call("sms", TEXT + form["Message"])
        (entry,) = [name for name, value in form.items() if value.endswith("COLLAPSE_ID")]
        activation = form[f"{entry.removesuffix('Name')}Value.StringValue"]
        return Call("push", activation, activation)

    def reply(self, request: Request, mode: Mode) -> Reply:  # noqa: ARG002 - one signature for all
        """Return a message id."""
        return _told("Publish", f"<MessageId>sns-{len(request.body)}</MessageId>")


def _told(action: str, result: str) -> Reply:
    body = f"<{action}Response {XMLNS}><{action}Result>{result}</{action}Result></{action}Response>"
    return Reply(200, body.encode(), XML)


class Receiver(Provider):
    """A receiver of webhooks that deduplicates by ``Idempotency-Key``; ``seen``: the effects.

    ``instead``: the response to accepted requests instead of 204. ``raw``: a function that writes its own response.
    """

    throttled = Reply(429, b"")
    broken = Reply(500, b"")

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, bytes] = {}
        self.instead: Reply | None = None
        self.raw: Callable[[socket.socket], None] | None = None

    def mend(self) -> None:
        """Recover."""
        super().mend()
        self.instead = self.raw = None

    def answer(self, request: Request, connection: socket.socket) -> Reply | None:
        """Handle one request."""
        raw, reply = self.raw, super().answer(request, connection)
        if raw is None:
            return reply
        with suppress(OSError):
            raw(connection)
        return None

    def agrees(self) -> bool:
        """Return whether its response means acceptance."""
        return self.instead is None or self.instead.status < 300

    def call(self, request: Request) -> Call:
        """Return the key, which names the activation."""
        key = request.headers.get("idempotency-key", "")
        return Call("webhook", key, key)

    def reply(self, request: Request, mode: Mode) -> Reply:  # noqa: ARG002 - one signature for all
        """Return 204; the same key again has no effect."""
        self.seen.setdefault(self.call(request).key, request.body)
        return self.instead or Reply(204, b"")


class Scheduled(NamedTuple):
    """A one-time schedule as it was created; ``mode``: how it fires."""

    expression: str
    input: str
    mode: Mode


class Scheduler(Provider):
    """EventBridge Scheduler; the test fires it by `fire`."""

    delivers = False
    throttled = Reply(429, b'{"Message": "slow"}', (("x-amzn-ErrorType", "ThrottlingException"),))

    def __init__(self) -> None:
        super().__init__()
        self.schedules: dict[str, Scheduled] = {}

    def reset(self, history: History | None) -> None:
        """Recover, without any schedule."""
        super().reset(history)
        self.schedules = {}

    def call(self, request: Request) -> Call:
        """Return the name of the schedule."""
        return Call("scheduler", unquote(urlsplit(request.path).path.rpartition("/")[2]))

    def reply(self, request: Request, mode: Mode) -> Reply:
        """Create or delete; Conflict and ResourceNotFound as on AWS."""
        name = self.call(request).activation
        if request.method == "DELETE":
            if self.schedules.pop(name, None) is None:
                return Reply(404, b'{"Message": "none"}', (("x-amzn-ErrorType", "ResourceNotFoundException"),))
            return Reply(200)
        if name in self.schedules:
            return Reply(409, b'{"Message": "it exists"}', (("x-amzn-ErrorType", "ConflictException"),))
        asked = json.loads(request.body)
        self.schedules[name] = Scheduled(asked["ScheduleExpression"], asked["Target"]["Input"], mode)
        return Reply(200, b'{"ScheduleArn": "arn:aws:scheduler:eu-central-1:123456789012:schedule/x/y"}')

    def fire(self, deliver: Callable[[str], Any]) -> int:
        """Fire all schedules, those of mode duplicate twice and those of mode drop never; return how many times."""
        fired = 0
        schedules, self.schedules = self.schedules, {}
        for schedule in schedules.values():
            for _ in range({"duplicate": 2, "drop": 0}.get(schedule.mode, 1)):
                deliver(schedule.input)
                fired += 1
        return fired
