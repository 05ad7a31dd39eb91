"""Accept items that an adapter has read: authenticate, parse by the rules of the tracking API, decide the events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aws_lambda_powertools.metrics import MetricUnit

from gateway import endpoints, tracking
from gateway.adapters.items import Item, drop_known_logins
from gateway.body import MAX_EVENT_BYTES, Body, Shape
from gateway.ports import Deps
from gateway.request import Request
from shared.errors import InvalidRequest

_SUSPECT = Shape(depth=tracking.MAX_BATCH_DEPTH + 1, keys=0, huge=True)  # `parse_batch` checks what is suspect


class Sent(NamedTuple):
    """What a library sent.

    adapter: its name in the site file.
    key: the write key in the body or the address; a key in the header or the query wins.
    events: as they were sent.
    read: returns the items of an event. It is called only if the key is right.
    sent: when the library sent it, by its own clock.
    """

    adapter: str
    key: Any
    events: Sequence[Any]
    read: Callable[[Any], list[Item]]
    sent: Any = None


def _read_each(events: Iterable[Any], read: Callable[[Any], list[Item]]) -> list[list[Item] | InvalidRequest]:
    """Return the items of each of *events*, or why it cannot be read."""
    found: list[list[Item] | InvalidRequest] = []
    for event in events:
        try:
            found.append(read(event))
        except InvalidRequest as error:
            found.append(error)
        except KeyError as error:
            found.append(InvalidRequest(f"the event has no {error.args[0]!r}", code="invalid_event"))
        except (TypeError, AttributeError, ValueError) as error:
            found.append(InvalidRequest(f"the event cannot be read: {error}", code="invalid_event"))
    return found


def accept(request: Request, deps: Deps, sent: Sent) -> dict[int, str]:
    """Accept what was sent. Return the places of the events that are refused, each with the reason.

    Raises what `endpoints.authenticate` raises, and `NotFound` if the site has not turned the adapter on.
    """
    received = deps.clock()
    access = endpoints.authenticate(request, {"writeKey": sent.key, "batch": sent.events}, deps)
    access.check_adapter(sent.adapter)
    found = _read_each(sent.events, sent.read)
    refused = {n: read.message for n, read in enumerate(found) if isinstance(read, InvalidRequest)}
    places: list[int] = []
    items: list[Item] = []
    owners: dict[Any, Any] = {}
    for n, read in enumerate(found):
        own = [] if isinstance(read, InvalidRequest) else drop_known_logins(read, owners)
        items += own
        places += [n] * len(own)
    body = Body({"batch": items, "sentAt": sent.sent}, _SUSPECT, may_have_nul=True, size=MAX_EVENT_BYTES + 1)
    # None of these libraries shows popups.
    envelope = endpoints.build_envelope(request, access, received, deps, popup_block_reason="unanswered")
    parsed = tracking.parse_batch(body, envelope)
    rejected = {remark.position: remark.message for remark in parsed.rejected}
    for n, place in enumerate(places):
        if n in rejected:
            refused.setdefault(place, rejected[n])
    taken = [place for n, place in enumerate(places) if n not in rejected]
    by_id = {message.message_id: place for message, place in zip(parsed.messages, taken, strict=True)}
    for decision in endpoints.decide(request, access, parsed.messages, deps):
        if decision.code is not None and decision.message_id in by_id:
            refused.setdefault(by_id[decision.message_id], decision.message or decision.code)
    if refused:
        deps.observability.metrics.add_metric(name="EventsRefused", unit=MetricUnit.Count, value=len(refused))
    return refused


def describe_refused(refused: Mapping[int, str]) -> dict[str, Any]:
    """Return the field ``rejected`` of a response; nothing if all events are accepted."""
    return {"rejected": [{"index": n, "message": refused[n]} for n in sorted(refused)]} if refused else {}
