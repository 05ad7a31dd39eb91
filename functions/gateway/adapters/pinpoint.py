"""Events of Amazon Pinpoint: the bodies of PutEvents, and the records of event streams.

Layout: https://docs.aws.amazon.com/pinpoint/latest/apireference/apps-application-id-events.html and
https://docs.aws.amazon.com/pinpoint/latest/developerguide/event-streams-data-app.html. A record of a stream has the
endpoint as JSON text in ``client_context.custom.endpoint``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

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
        "",
        {**read_object(record.get("attributes")), **read_object(record.get("metrics"))},
    )


def read_put_events(body: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Item]]]:
    """Yield the endpoint id, the event id and the items of each event in a *body* of PutEvents.

    An event that is not an object has no items. Raises `InvalidRequest` if the body has no ``BatchItem``.
    """
    batch = body.get("BatchItem")
    if not isinstance(batch, dict):
        raise InvalidRequest(
            "'BatchItem' must be an object: endpoint ids with 'Endpoint' and 'Events'", code="invalid_batch"
        )
    for endpoint_id, content in batch.items():
        endpoint = read_object(read_object(content).get("Endpoint"))
        for event_id, event in read_object(read_object(content).get("Events")).items():
            if not isinstance(event, dict):
                yield endpoint_id, event_id, []
                continue
            properties = {**read_object(event.get("Attributes")), **read_object(event.get("Metrics"))}
            common = endpoint, endpoint_id, event_id, properties
            yield endpoint_id, event_id, _read(event.get("EventType"), event.get("Timestamp"), *common)


def _read(name: Any, at: Any, endpoint: Item, visitor: Any, message_id: str, properties: Item) -> list[Item]:
    person = read_object(endpoint.get("User") or endpoint.get("user"))
    user = person.get("UserId") or person.get("userId") or person.get("user_id")
    return add_login(create_event(name, at, user=user, visitor=visitor, message_id=message_id, properties=properties))
