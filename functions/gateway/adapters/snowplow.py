"""Events of Snowplow: what its trackers post to ``/com.snowplowanalytics.snowplow/tp2``, and enriched events.

Layout: https://docs.snowplow.io/docs/fundamentals/canonical-event/ gives each field its short name in a tracker's
payload and its name in the enriched event; https://docs.snowplow.io/docs/fundamentals/enriched-tsv-format/ gives the
order of the 131 columns. The analytics SDKs turn these columns into JSON.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from gateway.adapters.items import Item, add_login, create_event, read_object

COLUMNS = 131
_TSV = {
    "collector_tstamp": 3,
    "dvce_created_tstamp": 4,
    "event": 5,
    "event_id": 6,
    "user_id": 12,
    "domain_userid": 15,
    "network_userid": 17,
    "page_url": 29,
    "page_title": 30,
    "page_referrer": 31,
    "se_category": 53,
    "se_action": 54,
    "se_label": 55,
    "se_property": 56,
    "se_value": 57,
    "unstruct_event": 58,
    "tr_orderid": 59,
    "tr_total": 61,
    "ti_orderid": 67,
    "ti_sku": 68,
    "ti_name": 69,
    "ti_category": 70,
    "ti_price": 71,
    "ti_quantity": 72,
    "tr_currency": 108,
    "ti_currency": 112,
    "derived_tstamp": 124,
    "event_name": 126,
    "true_tstamp": 130,
}
_PAYLOAD = {
    "eid": "event_id",
    "uid": "user_id",
    "duid": "domain_userid",
    "nuid": "network_userid",
    "tnuid": "network_userid",
    "url": "page_url",
    "page": "page_title",
    "refr": "page_referrer",
    "se_ca": "se_category",
    "se_ac": "se_action",
    "se_la": "se_label",
    "se_pr": "se_property",
    "se_va": "se_value",
    "tr_id": "tr_orderid",
    "tr_tt": "tr_total",
    "tr_cu": "tr_currency",
    "ti_id": "ti_orderid",
    "ti_sk": "ti_sku",
    "ti_nm": "ti_name",
    "ti_ca": "ti_category",
    "ti_pr": "ti_price",
    "ti_qu": "ti_quantity",
    "ti_cu": "ti_currency",
    "dtm": "dvce_created_tstamp",
    "ttm": "true_tstamp",
    "stm": "dvce_sent_tstamp",
    "ue_pr": "unstruct_event",
}
_KINDS = {
    "pv": "page_view",
    "pp": "page_ping",
    "ue": "unstruct",
    "se": "struct",
    "tr": "transaction",
    "ti": "transaction_item",
}
_NUMBERS = ("se_value", "tr_total", "ti_price", "ti_quantity")
_FIELDS = (
    *("se_category", "se_action", "se_label", "se_property", "se_value", "page_url", "page_title", "page_referrer"),
    *("tr_orderid", "tr_total", "tr_currency", "ti_orderid", "ti_sku", "ti_name", "ti_category", "ti_price"),
    *("ti_quantity", "ti_currency"),
)
_VIEWS = {"page_view": "page", "screen_view": "screen"}
_SCHEMA = re.compile(r"iglu:[^/]{1,200}/([A-Za-z0-9_-]{1,200})/jsonschema/[0-9-]{1,20}")


def read_tsv(line: str) -> Item:
    """Return a *line* of the enriched TSV as an enriched event. Raises `ValueError` if it has other columns."""
    values = line.split("\t")
    if len(values) != COLUMNS:
        raise ValueError(f"{len(values)} columns, expected {COLUMNS}")
    return {name: values[place] for name, place in _TSV.items() if values[place] != ""}


def read_payload(payload: Mapping[str, Any]) -> list[Item]:
    """Return the *payload* of a tracker as items. ``ue_px`` is ``ue_pr`` in base64. Raises `KeyError`, `ValueError`."""
    event = {name: payload[short] for short, name in _PAYLOAD.items() if payload.get(short) not in (None, "")}
    event["event"] = _KINDS[payload["e"]] if payload["e"] in _KINDS else payload["e"]
    if payload.get("ue_px"):
        event["unstruct_event"] = _decode(payload["ue_px"])
    if event["event"] == "unstruct" and not _unwrap(event.get("unstruct_event"))[0]:
        raise ValueError("a self-describing event needs its schema and data in 'ue_pr' or 'ue_px'")
    items = read_event(event)
    for item in items:
        if "dvce_sent_tstamp" in event and "true_tstamp" not in event:
            item["sentAt"] = event["dvce_sent_tstamp"]
    return items


def read_event(event: Mapping[str, Any]) -> list[Item]:
    """Return an enriched *event* as items: of the analytics SDK, of `read_tsv`, or a renamed payload.

    Its name is that of its schema. A structured event has the name ``event`` if ``event_name`` is missing. Page views
    and screen views are calls of their own. Raises `KeyError` for an event without ``event`` or a time.
    """
    name, properties = event.get("event_name") or event["event"], _read_fields(event)
    for column, value in event.items():
        if column.startswith("unstruct_event_"):
            properties |= read_object(value)
    schema, data = _unwrap(event.get("unstruct_event"))
    if event["event"] == "unstruct" and "event_name" not in event and schema:
        name = schema
    properties |= data
    times = ("true_tstamp", "derived_tstamp", "dvce_created_tstamp", "collector_tstamp")
    item = create_event(
        name,
        next((event[each] for each in times if event.get(each)), None),
        user=event.get("user_id"),
        visitor=event.get("domain_userid") or event.get("network_userid"),
        message_id=event.get("event_id"),
        properties=properties,
    )
    if name in _VIEWS:
        shown = event.get("page_title") if name == "page_view" else properties.get("name")
        item |= {"type": _VIEWS[name], **({"name": shown} if shown else {})}
    return add_login(item)


def _read_fields(event: Mapping[str, Any]) -> Item:
    """Return the attributes among the fields of *event*; TSV and payloads have text in place of numbers."""
    fields = {name: event[name] for name in _FIELDS if event.get(name) is not None}
    for name in _NUMBERS:
        if isinstance(fields.get(name), str):
            number = float(fields[name])
            fields[name] = int(number) if name == "ti_quantity" and number.is_integer() else number
    return fields


def _unwrap(value: Any) -> tuple[str, Item]:
    """Return the name of the schema and the data of a self-describing event, which has an envelope around it."""
    whole = read_object(value)
    if value and not whole:
        raise ValueError("unstruct_event is not a JSON object")
    inner = read_object(whole.get("data"))
    if not ("schema" in inner and "data" in inner):
        inner = whole
    schema = _SCHEMA.fullmatch(str(inner.get("schema") or ""))
    return (schema[1] if schema else ""), read_object(inner.get("data"))


def _decode(text: Any) -> str:
    """Return base64 *text* decoded; trackers use the alphabet of URLs, and may leave out the padding."""
    whole = str(text).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(whole + "=" * (-len(whole) % 4), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ValueError("ue_px is not base64 of text") from error
