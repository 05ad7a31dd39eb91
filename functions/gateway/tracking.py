"""The tracking API's wire format (Segment's HTTP API): parsed bodies in, messages out.

Pure. Source of the field names and of the clock correction: Segment's public specification of the HTTP
Tracking API and of its common fields.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.body import MAX_DEPTH, MAX_EVENT_BYTES, Body, check, check_shape
from gateway.times import corrected, to_ms
from shared.contracts import ANONYMOUS_PREFIX, PAGE_VIEWED, SCREEN_VIEWED, Alias, Event, Group, Identify, Message
from shared.errors import InvalidRequest, TooLarge

MAX_BATCH_EVENTS = 2500
MAX_ID_LENGTH = 256
MAX_MESSAGE_ID_LENGTH = 100
# An event's fields may hold MAX_DEPTH levels; the event itself is one more, and in a batch it lies two deeper.
EVENT_LEVELS = MAX_DEPTH + 1
BATCH_LEVELS = EVENT_LEVELS + 2


# A message, the visitor who sent it, its context: returns it as it counts.
Settle = Callable[[Message, str, Mapping[str, Any]], Message]


class Envelope(NamedTuple):
    """What a request says of all its items.

    ``received``: ms, stamped by us. ``trusted``: it came with a secret key, which alone may send history.
    ``sent``, ``context``: those of a batch, for items that have none. ``mute``: as in `Event`.
    ``settle``: see `IdentityPolicy`.
    """

    received: int
    trusted: bool = False
    sent: Any = None
    context: Mapping[str, Any] = {}
    mute: str = ""
    settle: Settle = lambda message, *_: message


class RejectedItem(NamedTuple):
    """An item of a batch that was not taken, and why."""

    place: int
    message_id: str | None
    code: str
    message: str


class ParsedBatch(NamedTuple):
    """What a body came to: messages in order, and the items that were refused."""

    messages: list[Message]
    refusals: list[RejectedItem]


def read_single(body: Body, kind: str, envelope: Envelope) -> Message:
    """Return the message that the *body* of a call such as ``/v1/track`` is."""
    check_shape(body.value, body.shape, "the event", EVENT_LEVELS, nul=body.nul)
    return read_message(body.value, kind, envelope)


def read_batch(body: Body, envelope: Envelope) -> ParsedBatch:
    """Return the messages of a ``/v1/batch`` body: good items are taken, bad ones named."""
    items = body.value.get("batch")
    if not isinstance(items, list):
        raise InvalidRequest("'batch' must be a list of events", code="invalid_batch")
    if len(items) > MAX_BATCH_EVENTS:
        raise TooLarge(f"the batch has {len(items)} events, at most {MAX_BATCH_EVENTS} are taken")
    suspect = body.nul or body.shape.huge or body.shape.depth > BATCH_LEVELS
    envelope = envelope._replace(sent=body.value.get("sentAt"), context=_object(body.value, "context"))
    taken = ParsedBatch([], [])
    for place, item in enumerate(items):
        try:
            if suspect:
                check(item, "the event", EVENT_LEVELS, nul=body.nul)
            if body.size > MAX_EVENT_BYTES and len(msgspec.json.encode(item)) > MAX_EVENT_BYTES:
                raise TooLarge(f"the event has more than {MAX_EVENT_BYTES} bytes")
            taken.messages.append(_read_item(item, envelope))
        except (InvalidRequest, TooLarge) as error:
            message_id = item.get("messageId") if isinstance(item, dict) else None
            known = message_id if isinstance(message_id, str) and len(message_id) <= MAX_MESSAGE_ID_LENGTH else None
            taken.refusals.append(RejectedItem(place, known, error.code, error.message))
    return taken


def read_message(item: Mapping[str, Any], kind: str, envelope: Envelope) -> Message:
    """Return one *item* of type *kind* as a message."""
    context = _object(item, "context")
    if envelope.context:
        context = {**envelope.context, **context}
    history = _is_history(context)
    message_id = _text(item, "messageId", MAX_MESSAGE_ID_LENGTH) or uuid.uuid4().hex
    when = {"at": _time(item, envelope, history=history), "received": envelope.received, "history": history}
    message = _READERS[kind](item, context, {"message_id": message_id, **when})
    if envelope.mute and isinstance(message, Event):
        message.mute = envelope.mute
    return envelope.settle(message, _anonymous(item), context)


def _read_item(item: Any, envelope: Envelope) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequest("an event must be a JSON object", code="invalid_event")
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _READERS:
        raise InvalidRequest(f"'type' must be one of {', '.join(sorted(_READERS))}", code="invalid_type")
    return read_message(item, kind, envelope)


def _time(item: Mapping[str, Any], envelope: Envelope, *, history: bool) -> int:
    """Return when *item* happened: rudder's clients call that originalTimestamp, Segment's timestamp."""
    original = to_ms(item.get("originalTimestamp")) or to_ms(item.get("timestamp"))
    if not history:
        return corrected(original, to_ms(item.get("sentAt") or envelope.sent), envelope.received)
    if not envelope.trusted:
        raise InvalidRequest("history needs a secret key", code="history_needs_secret_key")
    if original is None:
        raise InvalidRequest("a history event needs a readable 'timestamp'", code="invalid_timestamp")
    return min(original, envelope.received)


def _track(item: Mapping[str, Any], _: Mapping[str, Any], common: dict[str, Any]) -> Event:
    name = _text(item, "event", MAX_ID_LENGTH)
    if not name:
        raise InvalidRequest("a track call needs 'event', the name of what happened", code="no_event_name")
    return Event(user=_user(item), event=name, attributes=_properties(item), **common)


def _view(event: str) -> Callable[..., Event]:
    def read(item: Mapping[str, Any], _: Mapping[str, Any], common: dict[str, Any]) -> Event:
        attributes = _properties(item)
        for field in ("name", "category"):
            if value := _text(item, field, MAX_ID_LENGTH):
                attributes = {**attributes, field: value}
        return Event(user=_user(item), event=event, attributes=attributes, **common)

    return read


def _identify(item: Mapping[str, Any], context: Mapping[str, Any], common: dict[str, Any]) -> Identify:
    user = _user(item)
    anonymous = _anonymous(item)
    return Identify(
        user=user, anonymous=anonymous if anonymous != user else "", traits=_traits(item, context), **common
    )


def _group(item: Mapping[str, Any], _: Mapping[str, Any], common: dict[str, Any]) -> Group:
    group = _text(item, "groupId", MAX_ID_LENGTH)
    if not group:
        raise InvalidRequest("a group call needs 'groupId'", code="no_group_id")
    # What context.traits says is about the user, not about the group.
    return Group(user=_user(item), group=group, traits=_fields(item, "traits", "invalid_traits"), **common)


def _alias(item: Mapping[str, Any], _: Mapping[str, Any], common: dict[str, Any]) -> Alias:
    user, previous = _text(item, "userId", MAX_ID_LENGTH), _text(item, "previousId", MAX_ID_LENGTH)
    if not user or not previous:
        raise InvalidRequest("an alias call needs 'userId' and 'previousId'", code="no_user_previous_id")
    return Alias(user=_known(user), previous=_known(previous), **common)


_READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], dict[str, Any]], Message]] = {
    "track": _track,
    "page": _view(PAGE_VIEWED),
    "screen": _view(SCREEN_VIEWED),
    "identify": _identify,
    "group": _group,
    "alias": _alias,
}
TYPES = frozenset(_READERS)


def _user(item: Mapping[str, Any]) -> str:
    user = _text(item, "userId", MAX_ID_LENGTH)
    who = _known(user) if user else _anonymous(item)
    if not who:
        raise InvalidRequest("an event needs 'userId' or 'anonymousId'", code="no_user_anon_id")
    return who


def _known(user: str) -> str:
    if user.startswith(ANONYMOUS_PREFIX):
        raise InvalidRequest(f"a user id must not begin with '{ANONYMOUS_PREFIX}'", code="reserved_user_id")
    return user


def _anonymous(item: Mapping[str, Any]) -> str:
    anonymous = _text(item, "anonymousId", MAX_ID_LENGTH)
    return ANONYMOUS_PREFIX + anonymous if anonymous else ""


def _text(item: Mapping[str, Any], field: str, longest: int) -> str:
    """Return a text of *item*; empty where it is absent, ``null`` or empty: clients write all three for nothing."""
    value = item.get(field)
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 7.0 and 7 are the same to JSON
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{field}' must be a string", code="invalid_field")
    if len(value) > longest:
        raise InvalidRequest(f"'{field}' is longer than {longest} characters", code="invalid_field")
    return value


def _properties(item: Mapping[str, Any]) -> dict[str, Any]:
    return _fields(item, "properties", "invalid_properties")


def _traits(item: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the traits of a user: rudder's Python client puts them into the context alone."""
    own = _fields(item, "traits", "invalid_traits")
    inner = context.get("traits")
    return {**inner, **own} if isinstance(inner, dict) else own


def _fields(item: Mapping[str, Any], field: str, code: str) -> dict[str, Any]:
    value = item.get(field)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{field}' must be a JSON object", code=code)
    return value


def _object(item: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Return an object that decides nothing of an event's own; what is no object there is ignored."""
    value = item.get(field)
    return value if isinstance(value, dict) else {}


def _is_history(context: Mapping[str, Any]) -> bool:
    ours = context.get("opportune")
    return isinstance(ours, dict) and ours.get("history") is True
