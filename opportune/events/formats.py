"""Exports of other products, each turned into tracking messages by the layout that its maker documents.

`FORMATS` has a function per product: it returns the messages in one line of the export. `guess` finds the product.
A line that names a visitor and a user at once is a login, where the product itself merges the two.

The layouts of PostHog, Snowplow and Pinpoint are those of `gateway.adapters`. The others:

- GA4: https://support.google.com/analytics/answer/7029846, as NDJSON, in which BigQuery writes INT64 as text.
- Mixpanel: https://docs.mixpanel.com/reference/raw-event-export, with `time` in s, or in ms with `time_in_ms`.
- Amplitude: https://amplitude.com/docs/apis/analytics/export, with times in UTC; a zip archive of gzip files.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.adapters import pinpoint, posthog, snowplow
from gateway.adapters.items import Item, add_login, create_event, read_object, without_empty
from opportune.events.recorded import parse_object
from shared.times import parse_ms

SEGMENT = "segment"
_GA4_VALUES = ("string_value", "int_value", "float_value", "double_value")
_GA4_NUMBERS = ("quantity", "total_item_quantity", "unique_items")  # INT64 in `items` and `ecommerce`


class Format(NamedTuple):
    """A product: what reads a line of its export, and the field that has the time."""

    read: Callable[[Item], list[Item]]
    time: str


def _read_ga4(line: Item) -> list[Item]:
    """Return an event; nothing for one without any id, which GA4 writes if a visitor refuses cookies."""
    properties = _read_parameters(line.get("event_params"))
    if line.get("items"):
        properties["items"] = [_read_ga4_item(item) for item in line["items"]]
    if ecommerce := {name: value for name, value in (line.get("ecommerce") or {}).items() if value is not None}:
        properties["ecommerce"] = _with_numbers(ecommerce)
    user, visitor = line.get("user_id"), line.get("user_pseudo_id")
    at = line["event_timestamp"]
    item = create_event(line["event_name"], at, user=user, visitor=visitor, properties=properties)
    return add_login(item) if "userId" in item or "anonymousId" in item else []


def _read_parameters(parameters: Any) -> Item:
    properties = {}
    for parameter in parameters or ():
        value = parameter.get("value") or {}
        kind = next((kind for kind in _GA4_VALUES if value.get(kind) is not None), None)
        if kind is None:
            continue
        found = value[kind]
        if kind != "string_value" and isinstance(found, str):
            found = int(found) if kind == "int_value" else float(found)
        if not isinstance(parameter["key"], str):
            raise TypeError("'key' of a parameter is not text")
        properties[parameter["key"]] = found
    return properties


def _read_ga4_item(item: Item) -> Item:
    own = {name: value for name, value in item.items() if value is not None and name != "item_params"}
    return {**_read_parameters(item.get("item_params")), **_with_numbers(own)}


def _with_numbers(record: Item) -> Item:
    return {
        name: int(value) if name in _GA4_NUMBERS and isinstance(value, str) else value for name, value in record.items()
    }


def _read_mixpanel(line: Item) -> list[Item]:
    own, name = read_object(line.get("properties")), line["event"]
    common = {"timestamp": own["time"], "messageId": own.get("$insert_id")}
    if name == "$identify" and own.get("$identified_id") and own.get("$anon_id"):
        ids = {"userId": own["$identified_id"], "anonymousId": str(own["$anon_id"]).removeprefix("$device:")}
        return [without_empty({"type": "identify", **ids, **common})]
    if name == "$create_alias" and own.get("alias"):
        return [without_empty({"type": "alias", "userId": own["alias"], "previousId": own["distinct_id"], **common})]
    distinct: Any = own.get("distinct_id")
    user, visitor = own.get("$user_id"), own.get("$device_id")
    if isinstance(distinct, str) and distinct.startswith("$device:"):
        distinct, visitor = None, visitor or distinct[len("$device:") :]
    elif distinct == visitor:
        distinct = None
    left_out = {"time", "distinct_id", "$insert_id", "$user_id", "$device_id"}
    properties = {key: value for key, value in own.items() if key not in left_out}
    item = create_event(name, own["time"], user=user or distinct, visitor=visitor, properties=properties)
    return add_login(item | without_empty({"messageId": common["messageId"]}))


def _read_amplitude(line: Item) -> list[Item]:
    return add_login(
        create_event(
            line["event_type"],
            line.get("event_time") or line.get("client_event_time"),
            user=line.get("user_id"),
            visitor=line.get("device_id"),
            message_id=line.get("$insert_id") or line.get("insert_id") or line.get("uuid"),
            properties=read_object(line.get("event_properties")),
        )
    )


FORMATS: Mapping[str, Format] = {
    "ga4": Format(_read_ga4, "event_timestamp"),
    "mixpanel": Format(_read_mixpanel, "time"),
    "amplitude": Format(_read_amplitude, "event_time"),
    "posthog": Format(posthog.read_event, "timestamp"),
    "snowplow": Format(snowplow.read_event, "derived_tstamp"),
    "pinpoint": Format(pinpoint.read_record, "event_timestamp"),
}
NAMES = (SEGMENT, *FORMATS)


def guess(line: bytes, where: str) -> str:
    """Return the name of the format that *line* has; ``segment`` by default.

    Raises `InvalidStream` with *where* if it is neither JSON nor a line of TSV.
    """
    if _is_tsv(line):
        return "snowplow"
    item = parse_object(line, where).value
    own = item.get("properties")
    signs = {
        "ga4": {"event_name", "event_timestamp"} <= item.keys(),
        "snowplow": {"event_id", "collector_tstamp"} <= item.keys(),
        "pinpoint": {"event_type", "event_timestamp"} <= item.keys(),
        "amplitude": "event_type" in item and not item.keys().isdisjoint(("event_time", "amplitude_id", "device_id")),
        "posthog": {"event", "distinct_id"} <= item.keys(),
        "mixpanel": "event" in item and isinstance(own, dict) and {"distinct_id", "time"} <= own.keys(),
    }
    if not item.keys().isdisjoint(("userId", "anonymousId", "messageId")):
        return SEGMENT
    return next((name for name, fits in signs.items() if fits), SEGMENT)


def _is_tsv(line: bytes) -> bool:
    return not line.startswith(b"{") and line.count(b"\t") == snowplow.COLUMNS - 1


def read_export(name: str, line: bytes, where: str) -> list[Item]:
    """Return the messages in *line* of an export of *name*, with times in ms where they can be read.

    Raises `InvalidStream` if it is not JSON, and `ValueError` if it lacks a field that each event of the export has.
    """
    product = FORMATS[name]
    try:
        if name == "snowplow" and not line.startswith(b"{"):
            items = product.read(snowplow.read_tsv(line.decode()))
        else:
            items = product.read(parse_object(line, where).value)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"is not an event of an export of {name}: {missing}; choose another --format") from error
    for item in items:
        stamp = item.get("timestamp")
        at = parse_ms(stamp)
        if at is None:
            raise ValueError(f"{product.time!r} {stamp!r:.80} is not a time")
        item["timestamp"] = at
    return items
