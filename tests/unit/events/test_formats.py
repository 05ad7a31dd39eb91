"""Exports of other products are replayed as they are.

The class of fault: a file that a product wrote needs a converter first, or is read with a wrong user, name or time.
Each sample has the layout that the product documents.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from opportune.events import streams
from opportune.events.formats import NAMES
from opportune.events.streams import InvalidStream

T0 = 1_790_000_000_000  # 2026-09-21T14:13:20Z
GA4 = {
    "event_date": "20260921", "event_timestamp": "1790000000000000", "event_name": "add_to_cart",
    "event_params": [
        {"key": "currency", "value": {"string_value": "EUR", "int_value": None}},
        {"key": "quantity", "value": {"int_value": "2"}}, {"key": "value", "value": {"double_value": 9.5}},
        {"key": "empty", "value": {}},
    ],
    "user_id": None, "user_pseudo_id": "17.42", "items": [{"item_id": "s1"}], "device": {"category": "mobile"},
}  # fmt: skip
MIXPANEL = {
    "event": "Signed up",
    "properties": {
        "time": 1790000000, "distinct_id": "$device:d1", "$insert_id": "i1", "$device_id": "d1", "plan": "pro",
    },
}  # fmt: skip
AMPLITUDE = {
    "event_type": "watch", "event_time": "2026-09-21 14:13:20.000000", "user_id": None, "device_id": "d1",
    "amplitude_id": 1, "$insert_id": "i1", "uuid": "u-1", "event_properties": {"plan": "pro"}, "user_properties": {},
}  # fmt: skip
POSTHOG = {
    "uuid": "0190", "event": "$pageview", "distinct_id": "d1", "timestamp": "2026-09-21T14:13:20+00:00",
    "properties": json.dumps({"$current_url": "https://x.example", "$is_identified": False}), "person_id": "p",
}  # fmt: skip
SNOWPLOW = {
    "app_id": "shop", "event": "unstruct", "event_name": "add_to_cart", "event_id": "e1", "user_id": None,
    "domain_userid": "d1", "collector_tstamp": "2026-09-21T14:13:21.000Z", "derived_tstamp": "2026-09-21T14:13:20.000Z",
    "unstruct_event_com_snowplowanalytics_snowplow_add_to_cart_1": {"sku": "s1", "quantity": 2},
}  # fmt: skip
PINPOINT = {
    "event_type": "add", "event_timestamp": T0, "arrival_timestamp": T0 + 900, "event_version": "3.1",
    "application": {"app_id": "a"}, "client": {"client_id": "d1"}, "attributes": {"sku": "s1"}, "metrics": {"n": 2.0},
    "client_context": {"custom": {"endpoint": '{"ChannelType":"EMAIL","EndpointStatus":"ACTIVE"}'}},
}  # fmt: skip

SAMPLES: dict[str, tuple[dict[str, Any], tuple[str, str, dict[str, Any]], dict[str, Any]]] = {
    # product: a line, what it is, and the changes that make it an event of the user anna
    "ga4": (
        GA4,
        ("anon:17.42", "add_to_cart", {"currency": "EUR", "quantity": 2, "value": 9.5, "items": [{"item_id": "s1"}]}),
        {"user_id": "anna"},
    ),
    "mixpanel": (
        MIXPANEL, ("anon:d1", "Signed up", {"plan": "pro"}),
        {"properties": {**MIXPANEL["properties"], "distinct_id": "anna", "$user_id": "anna"}},  # type: ignore[dict-item]
    ),
    "amplitude": (AMPLITUDE, ("anon:d1", "watch", {"plan": "pro"}), {"user_id": "anna"}),
    "posthog": (
        POSTHOG, ("anon:d1", "$pageview", {"$current_url": "https://x.example", "$is_identified": False}),
        {"distinct_id": "anna", "event": "$identify", "properties": {"$anon_distinct_id": "d1"}},
    ),
    "snowplow": (SNOWPLOW, ("anon:d1", "add_to_cart", {"sku": "s1", "quantity": 2}), {"user_id": "anna"}),
    "pinpoint": (
        PINPOINT, ("anon:d1", "add", {"sku": "s1", "n": 2.0}),
        {"client_context": {"custom": {"endpoint": '{"User":{"UserId":"anna"}}'}}},
    ),
}  # fmt: skip


def write(path: Path, *lines: Any) -> Path:
    """Write *lines* as NDJSON."""
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_an_export_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    """The format is guessed. User, name, time and attributes are right, and a line with both ids is a login, once."""
    line, expected, changes = SAMPLES[name]
    known = {**line, **changes}
    path = write(tmp_path / "export.ndjson", line, known, known)
    assert streams.choose_format(path, "") == name
    first, *others = streams.read_events(path, file_format=name)
    assert (first.user, first.event, first.attributes) == expected
    assert first.at == T0
    logins = [(each.user, each.visitor, each.at) for each in others if each.visitor]
    assert set(logins) == {("anna", expected[0], T0)}
    assert len(logins) == 1
    assert {each.user for each in others} == {"anna"}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_line_of_another_layout_is_named(tmp_path: Path, name: str) -> None:
    """The error has file, line and product."""
    line, _, _ = SAMPLES[name]
    path = write(tmp_path / "export.ndjson", line, {"hello": "world"})
    with pytest.raises(InvalidStream, match=rf"^export\.ndjson:2: .*{name}"):
        list(streams.read_events(path, file_format=name))


def test_other_files_are_tracking_messages(tmp_path: Path) -> None:
    """A line with an id of the tracking API is one of its messages, whatever else it has. Unknown names are refused."""
    path = write(tmp_path / "e.ndjson", {"userId": "a", "event": "e", "timestamp": T0, "distinct_id": "x"})
    assert streams.choose_format(path, "") == "segment"
    assert streams.choose_format(path, "pinpoint") == "pinpoint"
    with pytest.raises(InvalidStream, match=r"heap.*ga4"):
        streams.choose_format(path, "heap")
    assert len(NAMES) == 7


def test_ids_that_name_no_one_are_refused_in_exports_too(tmp_path: Path) -> None:
    """The Gateway's rules hold after the mapping."""
    path = write(tmp_path / "e.ndjson", {**AMPLITUDE, "user_id": "undefined"})
    with pytest.raises(InvalidStream, match=r"e\.ndjson:1: 'userId' is 'undefined'"):
        list(streams.read_events(path, file_format="amplitude"))


def test_clocks_and_ids_of_the_products(tmp_path: Path) -> None:
    """Mixpanel's times are seconds or ms; message ids are those of the product."""
    lines = [{**MIXPANEL, "properties": {**MIXPANEL["properties"], "time": t}} for t in (1790000000, T0)]  # type: ignore[dict-item]
    path = write(tmp_path / "e.ndjson", *lines)
    assert [(e.at, e.message_id) for e in streams.read_events(path, file_format="mixpanel")] == [(T0, "i1")] * 2
    ids = {
        name: next(iter(streams.read_events(write(tmp_path / name, SAMPLES[name][0]), file_format=name))).message_id
        for name in ("amplitude", "posthog", "snowplow")
    }
    assert ids == {"amplitude": "i1", "posthog": "0190", "snowplow": "e1"}
