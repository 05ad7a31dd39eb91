"""Events of Amazon Pinpoint: the bodies of PutEvents, and the records of event streams.

Layout: https://docs.aws.amazon.com/pinpoint/latest/apireference/apps-application-id-events.html and
https://docs.aws.amazon.com/pinpoint/latest/developerguide/event-streams-data-app.html. A record of a stream has the
endpoint as JSON text in ``client_context.custom.endpoint``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.adapters.items import Item, add_login, create_event, read_object
from shared.errors import InvalidRequest


def read_record(record: Mapping[str, Any]) -> list[Item]:
    """Return the *record* of a stream as items. Raises `KeyError` if it lacks ``event_type`` or ``event_timestamp``."""
    client, context = read_object(record.get("client")), read_object(record.get("client_context"))
    endpoint = read_object(read_object(context.get("custom")).get("endpoint")) or read_object(record.get("endpoint"))
    return _read(
        record["event_type"],
        record["event_timestamp"],
        endpoint,
        client.get("client_id"),
        None,
        {**read_object(record.get("attributes")), **read_object(record.get("metrics"))},
    )


class PutEvent(NamedTuple):
    """An event of PutEvents, with its endpoint and their ids."""

    endpoint_id: str
    event_id: str
    endpoint: Item
    event: Any


def list_events(body: Mapping[str, Any]) -> list[PutEvent]:
    """Return the events in a *body* of PutEvents. Raises `InvalidRequest` if the body has no ``BatchItem``."""
    batch = body.get("BatchItem")
    if not isinstance(batch, dict):
        raise InvalidRequest(
            "'BatchItem' must be an object: endpoint ids with 'Endpoint' and 'Events'", code="invalid_batch"
        )
    return [
        PutEvent(endpoint_id, event_id, read_object(read_object(content).get("Endpoint")), event)
        for endpoint_id, content in batch.items()
        for event_id, event in read_object(read_object(content).get("Events")).items()
    ]


def read_event(put: PutEvent) -> list[Item]:
    """Return an event of PutEvents as items. Raises `TypeError` if it is not an object, and `KeyError` without a name.

    The message id has the time in it, because many programs give all their events one id.
    """
    if not isinstance(put.event, dict):
        raise TypeError("it is not an object")
    at = put.event.get("Timestamp")
    properties = {**read_object(put.event.get("Attributes")), **read_object(put.event.get("Metrics"))}
    message_id = f"{put.event_id[:60]}@{at}"[:100] if at else None
    return _read(put.event["EventType"], at, put.endpoint, put.endpoint_id, message_id, properties)


def _read(name: Any, at: Any, endpoint: Item, visitor: Any, message_id: str | None, properties: Item) -> list[Item]:
    person = read_object(endpoint.get("User") or endpoint.get("user"))
    user = person.get("UserId") or person.get("userId") or person.get("user_id")
    return add_login(create_event(name, at, user=user, visitor=visitor, message_id=message_id, properties=properties))
