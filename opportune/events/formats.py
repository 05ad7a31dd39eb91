"""Exports of other products, each turned into tracking messages by the layout that its maker documents.

`FORMATS` has a function per product: it returns the messages in one line of the export. `guess` finds the product.
A line that names a visitor and a user at once is a login, where the product itself merges the two.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway.times import parse_ms

Item = dict[str, Any]
SEGMENT = "segment"
_GA4_VALUES = ("string_value", "int_value", "float_value", "double_value")
_SNOWPLOW_FIELDS = (
    *("se_category", "se_action", "se_label", "se_property", "se_value", "page_url", "page_title", "page_referrer"),
    *("tr_orderid", "tr_total", "ti_sku", "ti_price", "ti_quantity"),
)


def _message(
    name: Any, at: Any, *, user: Any = None, visitor: Any = None, message_id: Any = None, properties: Any = None
) -> Item:
    return {
        "type": "track",
        "event": name,
        "timestamp": at,
        "userId": user,
        "anonymousId": visitor,
        "messageId": message_id,
        "properties": properties,
    }


def _with_login(item: Item) -> list[Item]:
    """Return the messages of an event that names its visitor, too: a login first."""
    if not (item["userId"] and item["anonymousId"]):
        return [item]
    login = {name: item[name] for name in ("timestamp", "userId", "anonymousId")}
    return [{"type": "identify", **login, "messageId": None}, item]


def _object(value: Any) -> Item:
    """Return an object, which exports to files often write as text."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _read_ga4(line: Item) -> list[Item]:
    properties = {}
    for parameter in line.get("event_params") or ():
        value = parameter.get("value") or {}
        kind = next((kind for kind in _GA4_VALUES if value.get(kind) is not None), None)
        if kind is None:
            continue
        found = value[kind]
        if kind != "string_value" and isinstance(found, str):  # BigQuery writes INT64 as text
            found = int(found) if kind == "int_value" else float(found)
        properties[parameter.get("key")] = found
    if line.get("items"):
        properties["items"] = line["items"]
    user, visitor = line.get("user_id"), line.get("user_pseudo_id")
    at = line["event_timestamp"]
    return _with_login(_message(line["event_name"], at, user=user, visitor=visitor, properties=properties))


def _read_mixpanel(line: Item) -> list[Item]:
    own = _object(line.get("properties"))
    distinct: Any = own.get("distinct_id")
    user, visitor = own.get("$user_id"), own.get("$device_id")
    if isinstance(distinct, str) and distinct.startswith("$device:"):
        distinct, visitor = None, visitor or distinct[len("$device:") :]
    elif distinct == visitor:
        distinct = None
    left_out = {"time", "distinct_id", "$insert_id", "$user_id", "$device_id"}
    return _with_login(
        _message(
            line["event"],
            own["time"],
            user=user or distinct,
            visitor=visitor,
            message_id=own.get("$insert_id"),
            properties={name: value for name, value in own.items() if name not in left_out},
        )
    )


def _read_amplitude(line: Item) -> list[Item]:
    return _with_login(
        _message(
            line["event_type"],
            line.get("event_time") or line.get("client_event_time"),
            user=line.get("user_id"),
            visitor=line.get("device_id"),
            message_id=line.get("$insert_id") or line.get("insert_id") or line.get("uuid"),
            properties=_object(line.get("event_properties")),
        )
    )


def _read_posthog(line: Item) -> list[Item]:
    own, who = _object(line.get("properties")), line["distinct_id"]
    common = {"timestamp": line.get("timestamp"), "messageId": line.get("uuid")}
    if line["event"] == "$identify" and own.get("$anon_distinct_id"):
        return [{"type": "identify", "userId": who, "anonymousId": own["$anon_distinct_id"], **common}]
    if line["event"] == "$create_alias" and own.get("alias"):
        return [{"type": "alias", "userId": who, "previousId": own["alias"], **common}]
    is_visitor = own.get("$is_identified") is False or who == own.get("$device_id")
    ids = {"visitor": who} if is_visitor else {"user": who}
    return [_message(line["event"], line.get("timestamp"), message_id=line.get("uuid"), properties=own, **ids)]


def _read_snowplow(line: Item) -> list[Item]:
    properties = {name: line[name] for name in _SNOWPLOW_FIELDS if line.get(name) is not None}
    for name, value in line.items():
        if name.startswith("unstruct_event_"):
            properties |= _object(value)
    visitor = line.get("domain_userid") or line.get("network_userid")
    item = _message(
        line.get("event_name") or line["event"],
        line.get("derived_tstamp") or line["collector_tstamp"],
        user=line.get("user_id"),
        visitor=visitor,
        message_id=line["event_id"],
        properties=properties,
    )
    if item["event"] in ("page_view", "screen_view"):
        item |= {"type": item["event"].removesuffix("_view"), "name": line.get("page_title")}
    return _with_login(item)


def _read_pinpoint(line: Item) -> list[Item]:
    client, context = _object(line.get("client")), _object(line.get("client_context"))
    endpoint = _object(_object(context.get("custom")).get("endpoint")) or _object(line.get("endpoint"))
    person = _object(endpoint.get("User") or endpoint.get("user"))
    return _with_login(
        _message(
            line["event_type"],
            line["event_timestamp"],
            user=person.get("UserId") or person.get("userId") or person.get("user_id"),
            visitor=client.get("client_id"),
            properties={**_object(line.get("attributes")), **_object(line.get("metrics"))},
        )
    )


FORMATS: Mapping[str, Callable[[Item], list[Item]]] = {
    "ga4": _read_ga4,
    "mixpanel": _read_mixpanel,
    "amplitude": _read_amplitude,
    "posthog": _read_posthog,
    "snowplow": _read_snowplow,
    "pinpoint": _read_pinpoint,
}
NAMES = (SEGMENT, *FORMATS)


def guess(line: Item) -> str:
    """Return the name of the format that *line* of NDJSON has; ``segment`` if it is no other."""
    own = line.get("properties")
    signs = {
        "ga4": {"event_name", "event_timestamp"} <= line.keys(),
        "snowplow": {"event_id", "collector_tstamp"} <= line.keys(),
        "pinpoint": {"event_type", "event_timestamp"} <= line.keys(),
        "amplitude": "event_type" in line and not line.keys().isdisjoint(("event_time", "amplitude_id", "device_id")),
        "posthog": {"event", "distinct_id"} <= line.keys(),
        "mixpanel": "event" in line and isinstance(own, dict) and {"distinct_id", "time"} <= own.keys(),
    }
    if not line.keys().isdisjoint(("userId", "anonymousId", "messageId")):
        return SEGMENT
    return next((name for name, fits in signs.items() if fits), SEGMENT)


def read_export(name: str, line: Item) -> list[Item]:
    """Return the messages in *line* of an export of *name*, with times in ms where they can be read.

    Raises `ValueError` if the line lacks a field that each event of the export has.
    """
    try:
        items = FORMATS[name](line)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"is not an event of an export of {name}: {missing}; choose another --format") from error
    for item in items:
        item["timestamp"] = at if (at := parse_ms(item["timestamp"])) is not None else item["timestamp"]
    return [{field: value for field, value in item.items() if value not in (None, "")} for item in items]
