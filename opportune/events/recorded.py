"""Recorded events, and the one way from a tracking message in a file to an event: the Gateway's own parsing."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from gateway import body, tracking
from gateway.body import Body, Shape
from gateway.times import can_be_meant, find_recorded_time
from shared.clock import now_ms
from shared.context import with_context
from shared.contracts import ANONYMOUS_PREFIX, Alias, Event, Identify, Message
from shared.errors import InvalidRequest, OpportuneError, TooLarge
from shared.times import LATEST, parse_ms
from shared.user_ids import MAX_ID_LENGTH

UNTIMED = ("identify", "alias", "group")
BOM = b"\xef\xbb\xbf"
HISTORY = {"opportune": {"history": True}}
# Makes `parse_batch` check everything about its item: it measures only what is suspect.
_SUSPECT = Shape(depth=tracking.MAX_BATCH_DEPTH + 1, keys=0, huge=True)

# Values that need no further check: they are small enough, and not nested too deeply.
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Scalar = None | bool | _Whole | float | str
_Nested = _Scalar | list[_Scalar] | dict[str, _Scalar]
Plain = dict[str, _Scalar | list[_Nested] | dict[str, _Nested]]
_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)] | int | None
_Name = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)] | None
_MessageId = Annotated[str, msgspec.Meta(max_length=tracking.MAX_MESSAGE_ID_LENGTH)] | None


class InvalidStream(OpportuneError):
    """A file of events cannot be read. The message names file and line."""

    code = "invalid_stream"


class Recorded(msgspec.Struct, gc=False):
    """A recorded event, or a login: a visitor became a user.

    ``at``: its time in ms.
    ``received``: when it was received, ms; 0 if that is not known.
    ``file``, ``line``: its place.
    ``visitor``: of a login, the visitor that became ``user``. Such a record has no ``event``.
    ``context``: as it was sent, read or not yet; `attach_context` makes attributes of it.
    """

    user: str = ""
    event: str = ""
    message_id: str = ""
    attributes: dict[str, Any] = msgspec.field(default_factory=dict)
    at: int = 0
    file: str = ""
    line: int = 0
    visitor: str = ""
    received: int = 0
    context: Any = None

    @property
    def where(self) -> str:
        """Return ``file:line``."""
        return f"{self.file}:{self.line}"


class PlainLine(
    msgspec.Struct,
    gc=False,
    rename={
        "user": "userId",
        "anonymous": "anonymousId",
        "message_id": "messageId",
        "original": "originalTimestamp",
        "receipt": "receivedAt",
        "attributes": "properties",
        **{ours: f"opportune {ours}" for ours in ("at", "file", "line", "visitor", "received")},
    },
):
    """A line of NDJSON that an ordinary tracker wrote, decoded in one step; it has all fields of `Recorded`."""

    user: _Id = ""
    event: _Name = ""
    message_id: _MessageId = ""
    attributes: Plain = msgspec.field(default_factory=dict)
    at: int = 0
    file: str = ""
    line: int = 0
    visitor: str = ""
    received: int = 0
    context: msgspec.Raw = msgspec.Raw()
    type: str = "track"
    anonymous: _Id = None
    timestamp: Any = None
    original: Any = None
    receipt: str | float | None = None
    name: Any = None
    category: Any = None

    where = Recorded.where


def attach_context(event: Recorded, names: Iterable[str]) -> None:
    """Make attributes of what *names* name of the context of *event*, as the Gateway does."""
    context = event.context
    if isinstance(context, msgspec.Raw):
        context = msgspec.json.decode(context) if bytes(context) else None
    event.attributes = with_context(event.attributes, context, names)


class Call(NamedTuple):
    """A valid tracking message of a file. ``item``: as it was written. ``message``: what the Gateway reads in it."""

    item: dict[str, Any]
    message: Message
    file: str
    line: int

    @property
    def recorded(self) -> Recorded | None:
        """The event, or the login, of the message; ``None`` if it is neither."""
        message, place = self.message, (self.file, self.line)
        if isinstance(message, Event):
            found = Recorded(message.user, message.event, message.message_id, message.attributes, message.at, *place)
            found.received, found.context = self.received, message.context
            return found
        visitor = ""
        if isinstance(message, Alias):
            visitor = ANONYMOUS_PREFIX + message.previous
        elif isinstance(message, Identify) and not message.user.startswith(ANONYMOUS_PREFIX):
            visitor = message.anonymous
        if not visitor:
            return None
        return Recorded(message.user, "", message.message_id, {}, message.at, *place, visitor, self.received)

    @property
    def received(self) -> int:
        """When the first receiver received the message, ms; 0 if that is not known."""
        return parse_ms(self.item.get("receivedAt")) or 0


def read_line(line: bytes, file: str, number: int) -> Call | None:
    """Return the call in a *line* of NDJSON, by the rules of the Gateway; ``None`` for a blank line.

    Raises `InvalidStream` with the reason for which the Gateway would refuse it.
    """
    text = clean_line(line)
    if not text:
        return None
    parsed = parse_object(text, f"{file}:{number}")
    return read_item(parsed.value, file, number, may_have_nul=parsed.may_have_nul)


def clean_line(line: bytes) -> bytes:
    """Return *line* without what means nothing around it."""
    return line.strip(b" \r\n").removeprefix(BOM).strip(b" \r\n")  # joined files have a mark in the middle


def parse_object(text: bytes, where: str) -> Body:
    """Return the object in *text*, a line of NDJSON. Raises `InvalidStream` with *where*."""
    try:
        return body.parse(text)
    except (InvalidRequest, TooLarge) as error:
        raise InvalidStream(f"{where}: {error.message.replace('the body', 'the line', 1)}") from error


def read_item(
    item: Mapping[str, Any], file: str, line: int, *, may_have_nul: bool = True, time_field: str = ""
) -> Call:
    """Return the call *item*. A missing type means an event; a missing message id is made from the place.

    time_field: the name of ``timestamp`` in the file, if it has another.

    An event needs a time. Another call without one has the time 0.
    Raises `InvalidStream` like `read_line`, and for a time that cannot be meant: live, it would count as now.
    """
    context = item.get("context")
    sent = {"type": "track", **item}
    is_timeless = item.get("type") in UNTIMED and item.get("timestamp") is item.get("originalTimestamp") is None
    if not is_timeless:
        sent["context"] = {**(context if isinstance(context, dict) else {}), **HISTORY}
    envelope = tracking.Envelope(LATEST, trusted=True)
    whole = Body({"batch": [sent]}, _SUSPECT, may_have_nul=may_have_nul, size=body.MAX_EVENT_BYTES + 1)
    parsed = tracking.parse_batch(whole, envelope)
    for rejected in parsed.rejected:
        raise InvalidStream(f"{file}:{line}: {_explain(rejected, item)}")
    (message,) = parsed.messages
    if is_timeless:
        message.at = 0
    _check_times(item, None if is_timeless else message.at, f"{file}:{line}", time_field)
    if item.get("messageId") in (None, ""):
        message.message_id = place_id(file, line, message.at)
    return Call(dict(item), message, file, line)


def _check_times(item: Mapping[str, Any], at: int | None, where: str, time_field: str) -> None:
    """Raise `InvalidStream` if the time *at*, or that of receipt, cannot be meant."""
    now = now_ms()
    times = {"receivedAt": parse_ms(item["receivedAt"])} if item.get("receivedAt") not in (None, "") else {}
    if at is not None:
        times[find_recorded_time(item)[1]] = at
    for field, time in times.items():
        if time is None or not can_be_meant(time, now):
            why = "is not a time"
            if time is not None:
                why = "is ahead of the clock" if time > now else "is more than ten years ago"
            raise InvalidStream(
                f"{where}: {(time_field or field)!r} {item[field]!r:.80} {why}: correct or remove the line"
            )


def place_id(name: str, line: int, at: int) -> str:
    """Return a message id for an event that has none: the same each time the same file is sent."""
    return f"{name[-60:]}:{line}@{at}"


def _explain(rejected: tracking.Remark, item: Mapping[str, Any]) -> str:
    if rejected.code != "invalid_timestamp":
        return rejected.message
    field = find_recorded_time(item)[1]
    return f"{field!r} {item.get(field)!r:.80} is neither an ISO-8601 time nor a number of s, ms, µs or ns"
