"""Exports of other products are replayed as they are.

The class of fault: a file that a product wrote needs a converter first, or is read with a wrong user, name or time.
Each sample has the layout that the product documents.
"""

import gzip
import json
import random
import zipfile
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

TSV_COLUMNS = {
    "app_id": "shop", "platform": "web", "collector_tstamp": "2026-09-21 14:13:21.500", "event": "unstruct",
    "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb", "user_id": "anna", "domain_userid": "d1",
    "page_url": "https://shop.example/", "derived_tstamp": "2026-09-21 14:13:20.000", "event_name": "add_to_cart",
    "unstruct_event": json.dumps({
        "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
        "data": {"schema": "iglu:com.example/add_to_cart/jsonschema/1-0-0", "data": {"sku": "s1", "tags": ["a", "b"]}},
    }),
}  # fmt: skip
PLACES = {
    "app_id": 0, "platform": 1, "collector_tstamp": 3, "event": 5, "event_id": 6, "user_id": 12, "domain_userid": 15,
    "page_url": 29, "se_category": 53, "se_action": 54, "se_value": 57, "unstruct_event": 58, "ti_quantity": 72,
    "derived_tstamp": 124, "event_name": 126,
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


def tsv(**columns: str) -> str:
    """Return a line of Snowplow's enriched TSV, which has 131 columns."""
    values = [""] * 131
    for name, value in columns.items():
        values[PLACES[name]] = value
    return "\t".join(values)


def test_snowplow_tsv_is_read(tmp_path: Path) -> None:
    """The columns have no header. The event of a schema is unwrapped, and a structured event has numbers."""
    struct = {"event": "struct", "event_name": "event", "se_category": "shop", "se_action": "pay", "se_value": "9.5"}
    path = tmp_path / "enriched.tsv.gz"
    lines = [tsv(**TSV_COLUMNS), tsv(**{**TSV_COLUMNS, **struct, "unstruct_event": ""}), ""]
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    assert streams.choose_format(path, "") == "snowplow"
    login, added, paid = streams.read_events(path, file_format="snowplow")
    assert (login.user, login.visitor) == ("anna", "anon:d1")
    assert (added.user, added.event, added.at, added.message_id) == (
        "anna", "add_to_cart", T0, TSV_COLUMNS["event_id"]
    )  # fmt: skip
    page = {"page_url": "https://shop.example/"}
    assert added.attributes == {**page, "sku": "s1", "tags": ["a", "b"]}
    assert paid.attributes == {**page, "se_category": "shop", "se_action": "pay", "se_value": 9.5}
    path.write_bytes(gzip.compress(("\t".join(["x"] * 131) + "\n" + "x\ty\n").encode()))
    with pytest.raises(InvalidStream, match=r"enriched\.tsv\.gz:1: "):
        list(streams.read_events(path, file_format="snowplow"))


def test_amplitude_zip_is_read_file_by_file(tmp_path: Path) -> None:
    """The export API returns a zip archive of gzip files. Errors name the file in it."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1234/", "")
        for hour in (15, 14):
            line = {**AMPLITUDE, "event_time": f"2026-09-21 {hour}:00:00.250000", "$insert_id": f"i{hour}"}
            archive.writestr(f"1234/1234_2026-09-21_{hour}#0.json.gz", gzip.compress(json.dumps(line).encode()))
    assert streams.choose_format(path, "") == "amplitude"
    events = list(streams.read_events(path, file_format="amplitude"))
    assert [(each.message_id, each.at % 1000) for each in events] == [("i14", 250), ("i15", 250)]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("1234/z.json", json.dumps({**AMPLITUDE, "event_time": "2015-10-06 19:14:22.000000"}))
    with pytest.raises(InvalidStream, match=r"^z\.json:1: 'event_time' .* is more than ten years ago"):
        list(streams.read_events(path, file_format="amplitude"))
    for broken in (b"PK\x03\x04", b"", b"text"):
        path.write_bytes(broken)
        with pytest.raises(InvalidStream, match=r"export\.zip"):
            list(streams.read_events(path, file_format="amplitude"))


def test_ga4_records_are_typed(tmp_path: Path) -> None:
    """BigQuery writes INT64 as text, also in `items` and `ecommerce`. A row without an id belongs to no user."""
    line = {
        **GA4,
        "items": [
            {
                "item_id": "7", "quantity": "2", "price": 9.5, "coupon": None,
                "item_params": [{"key": "size", "value": {"int_value": "42"}}],
            }
        ],
        "ecommerce": {"total_item_quantity": "2", "purchase_revenue": 19.0, "transaction_id": "77", "tax_value": None},
    }  # fmt: skip
    path = write(tmp_path / "e.ndjson", {**line, "user_pseudo_id": None}, line)
    (event,) = streams.read_events(path, file_format="ga4")
    assert event.attributes["items"] == [{"item_id": "7", "quantity": 2, "price": 9.5, "size": 42}]
    assert event.attributes["ecommerce"] == {
        "total_item_quantity": 2, "purchase_revenue": 19.0, "transaction_id": "77"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("product", "line"),
    [
        ("mixpanel", {"event": "$identify", "properties": {
            "time": 1790000000, "distinct_id": "anna", "$identified_id": "anna", "$anon_id": "$device:d1"}}),
        ("mixpanel", {"event": "$create_alias", "properties": {
            "time": 1790000000, "distinct_id": "d1", "alias": "anna"}}),
        ("posthog", {**POSTHOG, "distinct_id": "d1", "event": "$create_alias", "properties": {"alias": "anna"}}),
        ("posthog", {**POSTHOG, "distinct_id": "anna", "event": "$merge_dangerously", "properties": {"alias": "d1"}}),
    ],
)  # fmt: skip
def test_logins_of_the_products(tmp_path: Path, product: str, line: dict[str, Any]) -> None:
    """What joins two ids there joins visitor and user here."""
    (login,) = streams.read_events(write(tmp_path / "e.ndjson", line), file_format=product)
    assert (login.user, login.visitor, login.event) == ("anna", "anon:d1", "")


@pytest.mark.parametrize("field", ["$is_identified", "$process_person_profile"])
def test_posthog_marks_visitors(tmp_path: Path, field: str) -> None:
    """`properties` is an object in JSON lines, and text where it comes from Parquet."""
    lines = [{**POSTHOG, "properties": each} for each in ({field: False, "n": [1]}, json.dumps({field: True}))]
    events = streams.read_events(write(tmp_path / "e.ndjson", *lines), file_format="posthog")
    assert [event.user for event in events] == ["anon:d1", "d1"]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("stamp", ["1970-01-01", "soon", None])
def test_a_time_is_named_by_the_field_of_the_product(tmp_path: Path, name: str, stamp: Any) -> None:
    """The error has file, line and the field as the file has it."""
    field = {"amplitude": "event_time", "posthog": "timestamp", "snowplow": "derived_tstamp"}.get(name, "")
    field = field or ("time" if name == "mixpanel" else "event_timestamp")
    line = {**SAMPLES[name][0], "collector_tstamp": None, field: stamp}
    if name == "mixpanel":
        line["properties"] = {**line["properties"], "time": stamp}
    path = write(tmp_path / "e.ndjson", line)
    with pytest.raises(InvalidStream, match=rf"^e\.ndjson:1: '{field}'"):
        list(streams.read_events(path, file_format=name))


def test_odd_values_are_refused_with_their_line(tmp_path: Path) -> None:
    """Whatever a field holds, the line is read or named; nothing fails inside."""
    rng = random.Random(7)
    odd = [None, 0, 2**70, True, "", "undefined", [], {}, [1], {"a": 1}, '{"a":', "x" * 300, {"User": 7}, "9" * 400]

    def change(value: Any) -> Any:
        if rng.random() < 0.1:
            return rng.choice(odd)
        if isinstance(value, dict):
            return {name: change(each) for name, each in value.items()}
        return [change(each) for each in value] if isinstance(value, list) else value

    read, refused = 0, []
    for n in range(1500):
        name = sorted(SAMPLES)[n % len(SAMPLES)]
        path = write(tmp_path / "e.ndjson", change(SAMPLES[name][0]))
        try:
            read += len(list(streams.read_events(path, file_format=name)))
        except InvalidStream as error:
            refused.append(error.message)
    assert all(message.startswith("e.ndjson:1: ") for message in refused)
    assert min(read, len(refused)) > 200
