"""The tracking API's wire format (Segment's HTTP API): bodies in, events out.

Pure: bytes and parsed JSON in, `Event`s and refusals out. Source of the field names and of the clock
correction: Segment's public specification of the HTTP Tracking API and of its common fields.
"""

import gzip
import io
import uuid
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from shared.contracts import ANONYMOUS_PREFIX, Event
from shared.errors import InvalidRequest, TooLarge

MAX_EVENT_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500 * 1024
MAX_BATCH_EVENTS = 2500
MAX_DEPTH = 8
MAX_ID_LENGTH = 256
MAX_MESSAGE_ID_LENGTH = 100
GZIP_MAGIC = b"\x1f\x8b"

TYPES = frozenset({"track", "identify", "page", "screen", "group", "alias"})


class Refusal(NamedTuple):
    """An item of a batch that was not taken, and why."""

    place: int
    message_id: str | None
    code: str
    message: str


class Taken(NamedTuple):
    """What a body came to: events in order, and the items that were refused."""

    events: list[Event]
    refusals: list[Refusal]


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return *body* unpacked where it is gzip, by header or by its first bytes; never more than *limit*."""
    if len(body) > limit:
        raise TooLarge(f"the body has {len(body)} bytes, at most {limit} are taken")
    if "gzip" not in encoding.lower() and not body.startswith(GZIP_MAGIC):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            plain = packed.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest("the body says it is gzip, but cannot be unpacked", code="malformed_gzip") from error
    if len(plain) > limit:
        raise TooLarge(f"the unpacked body has more than {limit} bytes")
    return plain


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*, whatever the content type said."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}", code="malformed_json") from error
    if not isinstance(parsed, dict):
        raise InvalidRequest("the body is JSON, but not an object", code="malformed_json")
    return parsed


def read_batch(envelope: Mapping[str, Any], received: int, *, trusted: bool) -> Taken:
    """Return the events of a ``/v1/batch`` body: good items are taken, bad ones named."""
    items = envelope.get("batch")
    if not isinstance(items, list):
        raise InvalidRequest("'batch' must be a list of events", code="invalid_batch")
    if len(items) > MAX_BATCH_EVENTS:
        raise TooLarge(f"the batch has {len(items)} events, at most {MAX_BATCH_EVENTS} are taken")
    shared_context = envelope.get("context")
    events: list[Event] = []
    refusals: list[Refusal] = []
    for index, item in enumerate(items):
        try:
            if not isinstance(item, dict):
                raise InvalidRequest("an event must be a JSON object", code="invalid_event")
            if len(msgspec.json.encode(item)) > MAX_EVENT_BYTES:
                raise TooLarge(f"the event has more than {MAX_EVENT_BYTES} bytes")
            kind = item.get("type")
            if not isinstance(kind, str) or kind not in TYPES:
                raise InvalidRequest(f"'type' must be one of {', '.join(sorted(TYPES))}", code="invalid_type")
            if isinstance(shared_context, dict) and not isinstance(item.get("context"), dict):
                item["context"] = shared_context
            event = read_event(item, kind, received, sent=envelope.get("sentAt"), trusted=trusted)
        except (InvalidRequest, TooLarge) as error:
            message_id = item.get("messageId") if isinstance(item, dict) else None
            known = message_id if isinstance(message_id, str) else None
            refusals.append(Refusal(index, known, error.code, error.message))
            continue
        if event is not None:
            events.append(event)
    return Taken(events, refusals)


def read_event(
    item: Mapping[str, Any], kind: str, received: int, *, sent: Any = None, trusted: bool = False
) -> Event | None:
    """Return one item as an `Event`; ``None`` for the types that are valid but trigger nothing.

    *received*: ms, stamped by us. *sent*: ``sentAt`` of the envelope, where the item has none.
    *trusted*: the request came with a secret key, which alone may send history.
    """
    user = _user(item)
    message_id = _text(item, "messageId", MAX_MESSAGE_ID_LENGTH) or uuid.uuid4().hex
    properties = item.get("properties")
    if properties is None:
        properties = {}
    if not isinstance(properties, dict):
        raise InvalidRequest("'properties' must be a JSON object", code="invalid_properties")
    if _depth(properties) > MAX_DEPTH:
        raise InvalidRequest(f"'properties' is nested deeper than {MAX_DEPTH}", code="too_deep")
    name = _text(item, "event", MAX_ID_LENGTH)
    if kind != "track":
        return None
    if not name:
        raise InvalidRequest("a track call needs 'event', the name of what happened", code="no_event_name")
    history = _is_history(item)
    if history and not trusted:
        raise InvalidRequest("history needs a secret key", code="history_needs_secret_key")
    original = iso_ms(item.get("originalTimestamp")) or iso_ms(item.get("timestamp"))
    if history:
        if original is None:
            raise InvalidRequest("a history event needs a readable 'timestamp'", code="invalid_timestamp")
        at = min(original, received)
    else:
        at = corrected(original, iso_ms(item.get("sentAt") or sent), received)
    return Event(
        user=user,
        event=name,
        message_id=message_id,
        at=at,
        received=received,
        attributes=properties,
        history=history,
    )


def corrected(original: int | None, sent: int | None, received: int) -> int:
    """Return when an event happened by our clock: ``received - (sent - original)``, never in the future."""
    if original is None:
        return received
    if sent is None:
        return min(original, received)
    return received - max(0, sent - original)


def _user(item: Mapping[str, Any]) -> str:
    user = _text(item, "userId", MAX_ID_LENGTH)
    if user:
        if user.startswith(ANONYMOUS_PREFIX):
            raise InvalidRequest(f"'userId' must not begin with '{ANONYMOUS_PREFIX}'", code="reserved_user_id")
        return user
    anonymous = _text(item, "anonymousId", MAX_ID_LENGTH)
    if anonymous:
        return ANONYMOUS_PREFIX + anonymous
    raise InvalidRequest("an event needs 'userId' or 'anonymousId'", code="no_user_anon_id")


def _text(item: Mapping[str, Any], field: str, longest: int) -> str:
    value = item.get(field)
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{field}' must be a string", code="invalid_field")
    if len(value) > longest:
        raise InvalidRequest(f"'{field}' is longer than {longest} characters", code="invalid_field")
    return value


def _is_history(item: Mapping[str, Any]) -> bool:
    context = item.get("context")
    ours = context.get("opportune") if isinstance(context, dict) else None
    return isinstance(ours, dict) and ours.get("history") is True


def iso_ms(value: Any) -> int | None:
    """Return ms of an ISO-8601 time; ``None`` where it cannot be read: clients send odd ones."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    try:
        return round(parsed.timestamp() * 1000)
    except (OverflowError, OSError):
        return None


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level:
        deepest += 1
        if deepest > MAX_DEPTH:
            break
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below += [v for v in part.values() if isinstance(v, dict | list)]
            elif isinstance(part, list):
                below += [v for v in part if isinstance(v, dict | list)]
        level = below
    return deepest
