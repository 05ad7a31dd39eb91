"""Turn parsed bodies in the format of Segment's HTTP Tracking API into messages. Pure functions.

Field names and the clock correction follow Segment's public specification of the API and of its common fields.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.body import MAX_DEPTH, MAX_EVENT_BYTES, Body, check, check_shape
from gateway.times import find_recorded_time, find_time
from shared.contracts import ANONYMOUS_PREFIX, PAGE_VIEWED, SCREEN_VIEWED, Alias, Event, Group, Identify, Message
from shared.errors import InvalidRequest, TooLarge
from shared.user_ids import MAX_ID_LENGTH, read_id, read_text, read_user_id

MAX_BATCH_EVENTS = 2500
MAX_MESSAGE_ID_LENGTH = 100
# Fields may have MAX_DEPTH levels. The event around them adds one level, and a batch adds two more.
MAX_EVENT_DEPTH = MAX_DEPTH + 1
MAX_BATCH_DEPTH = MAX_EVENT_DEPTH + 2


_Json = Mapping[str, Any]
# Takes a message, its visitor and its context; returns the message with the user it counts for.
ApplyIdentity = Callable[[Message, str, Mapping[str, Any]], Message]


class Remark(NamedTuple):
    """Why an item is rejected, or a warning about an accepted one.

    ``position``: its index in the batch; ``None`` for a single call.
    """

    position: int | None
    message_id: str | None
    code: str
    message: str


class Envelope(NamedTuple):
    """What applies to every item of a request.

    received: when the Gateway received it, ms.
    trusted: it came with a secret key; only then may it send history.
    sent, context: the batch's own, for items that have none.
    popup_block_reason: as in `Event`.
    apply_identity: see `IdentityPolicy`.
    warn: called with each warning. Its item is accepted all the same.
    """

    received: int
    trusted: bool = False
    sent: Any = None
    context: Mapping[str, Any] = {}
    popup_block_reason: str = ""
    apply_identity: ApplyIdentity = lambda message, *_: message
    warn: Callable[[Remark], object] = lambda *_: None


class ParsedBatch(NamedTuple):
    """The messages of a batch in their order, and its invalid items."""

    messages: list[Message]
    rejected: list[Remark]


def parse_single(body: Body, kind: str, envelope: Envelope) -> Message:
    """Return the message in the *body* of a call such as ``/v1/track``."""
    check_shape(body.value, body.shape, "the event", MAX_EVENT_DEPTH, may_have_nul=body.may_have_nul)
    return parse_message(body.value, kind, envelope)


def parse_batch(body: Body, envelope: Envelope) -> ParsedBatch:
    """Return the messages and the invalid items of a ``/v1/batch`` body."""
    items = _get_items(body.value)
    if not isinstance(items, list):
        raise InvalidRequest("'batch' must be a list of events", code="invalid_batch")
    if len(items) > MAX_BATCH_EVENTS:
        raise TooLarge(f"the batch has {len(items)} events; the limit is {MAX_BATCH_EVENTS}")
    suspect = body.may_have_nul or body.shape.huge or body.shape.depth > MAX_BATCH_DEPTH
    envelope = envelope._replace(sent=body.value.get("sentAt"), context=_get_context(body.value))
    parsed = ParsedBatch([], [])
    for position, item in enumerate(items):
        try:
            if position in body.unreadable:
                raise InvalidRequest(f"the event is not JSON: {body.unreadable[position]}", code="malformed_json")
            if suspect:
                check(item, "the event", MAX_EVENT_DEPTH, may_have_nul=body.may_have_nul)
            if body.size > MAX_EVENT_BYTES and len(msgspec.json.encode(item)) > MAX_EVENT_BYTES:
                raise TooLarge(f"the event has more than {MAX_EVENT_BYTES} bytes")
            parsed.messages.append(_parse_item(item, envelope, position))
        except (InvalidRequest, TooLarge) as error:
            parsed.rejected.append(Remark(position, _known_message_id(item), error.code, error.message))
    return parsed


def _known_message_id(item: Any) -> str | None:
    """Return the message id with which the client can find *item*."""
    message_id = item.get("messageId") if isinstance(item, dict) else None
    return message_id if isinstance(message_id, str) and len(message_id) <= MAX_MESSAGE_ID_LENGTH else None


def _get_items(body: Mapping[str, Any]) -> Any:
    """Return the items of a batch. One call, alone or in place of the list, is a batch of one, as webhooks send it."""
    items = body.get("batch")
    if items is None and choose_kind(body, ""):
        return [body]
    return [items] if isinstance(items, dict) else items


def choose_kind(body: Mapping[str, Any], kind: str) -> str:
    """Return the type of the call in *body*; *kind* if it names none. Webhooks send all types to one address."""
    own = body.get("type")
    return own if isinstance(own, str) and own in TYPES else kind


def parse_message(item: Mapping[str, Any], kind: str, envelope: Envelope, position: int | None = None) -> Message:
    """Return *item*, a call of type *kind*, as a message. *position*: its index in a batch."""
    context = _get_context(item)
    if envelope.context:
        context = {**envelope.context, **context}
    history = _is_history(context)
    message_id = read_text(item.get("messageId"), "messageId", MAX_MESSAGE_ID_LENGTH) or uuid.uuid4().hex
    at = _parse_time(item, envelope, position, history=history)
    common = {"message_id": message_id, "at": at, "received": envelope.received, "history": history}
    visitor = _get_visitor(item)
    message = _PARSERS[kind](item, context, visitor, common)
    if isinstance(message, Event):
        message.context, message.popup_block_reason = context, envelope.popup_block_reason
    return envelope.apply_identity(message, visitor, context)


def _parse_item(item: Any, envelope: Envelope, position: int) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequest("an event must be a JSON object", code="invalid_event")
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise InvalidRequest(f"'type' must be one of {', '.join(sorted(_PARSERS))}", code="invalid_type")
    return parse_message(item, kind, envelope, position)


def _parse_time(item: Mapping[str, Any], envelope: Envelope, position: int | None, *, history: bool) -> int:
    """Return when *item* happened; warn of a time that cannot be meant."""
    if not history:
        at, unreadable = find_time(item, envelope.sent, envelope.received)
        if unreadable:
            told = f"'{unreadable}' is not a time that can be meant: the event counts as now"
            envelope.warn(Remark(position, _known_message_id(item), "unreadable_time", told))
        return at
    if not envelope.trusted:
        raise InvalidRequest("history events need a secret key", code="history_needs_secret_key")
    own, _ = find_recorded_time(item)
    if own is None:
        raise InvalidRequest("a history event needs a valid 'timestamp'", code="invalid_timestamp")
    return min(own, envelope.received)


def _parse_track(item: _Json, _: _Json, visitor: str, common: dict[str, Any]) -> Event:
    name = read_text(item.get("event"), "event", MAX_ID_LENGTH)
    if not name:
        raise InvalidRequest("a track call needs 'event', the event's name", code="no_event_name")
    return Event(user=_get_user(item, visitor), event=name, attributes=_get_properties(item), **common)


def _create_view_parser(event: str) -> Callable[..., Event]:
    def parse_view(item: _Json, _: _Json, visitor: str, common: dict[str, Any]) -> Event:
        attributes = _get_properties(item)
        for field in ("name", "category"):
            if value := read_text(item.get(field), field, MAX_ID_LENGTH):
                attributes = {**attributes, field: value}
        return Event(user=_get_user(item, visitor), event=event, attributes=attributes, **common)

    return parse_view


def _parse_identify(item: _Json, context: _Json, visitor: str, common: dict[str, Any]) -> Identify:
    user = _get_user(item, visitor)
    anonymous = visitor if visitor != user else ""
    return Identify(user=user, anonymous=anonymous, traits=_get_traits(item, context), **common)


def _parse_group(item: _Json, _: _Json, visitor: str, common: dict[str, Any]) -> Group:
    group = read_text(item.get("groupId"), "groupId", MAX_ID_LENGTH)
    if not group:
        raise InvalidRequest("a group call needs 'groupId'", code="no_group_id")
    # `context.traits` describes the user, not the group.
    traits = _get_object(item, "traits", "invalid_traits")
    return Group(user=_get_user(item, visitor), group=group, traits=traits, **common)


def _parse_alias(item: _Json, _: _Json, __: str, common: dict[str, Any]) -> Alias:
    user, previous = read_user_id(item.get("userId"), "userId"), read_user_id(item.get("previousId"), "previousId")
    if not user or not previous:
        raise InvalidRequest("an alias call needs 'userId' and 'previousId'", code="no_user_previous_id")
    return Alias(user=user, previous=previous, **common)


# Each takes an item, its context, its visitor, and the fields that all messages have.
_PARSERS: dict[str, Callable[[_Json, _Json, str, dict[str, Any]], Message]] = {
    "track": _parse_track,
    "page": _create_view_parser(PAGE_VIEWED),
    "screen": _create_view_parser(SCREEN_VIEWED),
    "identify": _parse_identify,
    "group": _parse_group,
    "alias": _parse_alias,
}
TYPES = frozenset(_PARSERS)


def accepts(field: str, value: str) -> bool:
    """Return whether a call may have *value* in *field* (``userId``, ``anonymousId``, ``event``), read as it is."""
    try:
        if field == "event":
            return read_text(value, field, MAX_ID_LENGTH) == value
        item = {field: value}
        return _get_user(item, _get_visitor(item)).removeprefix(ANONYMOUS_PREFIX) == value
    except InvalidRequest:
        return False


def _get_user(item: _Json, visitor: str) -> str:
    user = read_user_id(item.get("userId"), "userId") or visitor
    if not user:
        raise InvalidRequest("an event needs 'userId' or 'anonymousId'", code="no_user_anon_id")
    return user


def _get_visitor(item: Mapping[str, Any]) -> str:
    """Return the anonymous id with its prefix; empty if there is none."""
    anonymous = read_id(item.get("anonymousId"), "anonymousId")
    return ANONYMOUS_PREFIX + anonymous if anonymous else ""


def _get_properties(item: Mapping[str, Any]) -> dict[str, Any]:
    return _get_object(item, "properties", "invalid_properties")


def _get_traits(item: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return a user's traits. RudderStack's Python client sends them only in the context."""
    own = _get_object(item, "traits", "invalid_traits")
    inner = context.get("traits")
    return {**inner, **own} if isinstance(inner, dict) else own


def _get_object(item: Mapping[str, Any], field: str, code: str) -> dict[str, Any]:
    value = item.get(field)
    if value is None or value == []:  # PHP writes an empty object as an empty list
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"'{field}' must be a JSON object", code=code)
    return value


def _get_context(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the context. It is optional, so one that is not an object is ignored."""
    value = item.get("context")
    return value if isinstance(value, dict) else {}


def _is_history(context: Mapping[str, Any]) -> bool:
    options = context.get("opportune")
    return isinstance(options, dict) and options.get("history") is True
