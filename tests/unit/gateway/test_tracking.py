"""The wire format: every type of call becomes a message, whichever client sent it."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway import tracking
from gateway.body import parse
from opportune.events import streams
from shared.contracts import Alias, Event, Group, Identify, Message
from shared.errors import OpportuneError
from shared.times import parse_iso_ms, parse_ms

NOW = 1_790_000_000_000


def single(kind: str, **fields: Any) -> Message:
    """Return the message for a call of *kind* with *fields*."""
    item = {"messageId": "m", **fields}
    return tracking.parse_single(parse(json.dumps(item).encode()), kind, tracking.Envelope(NOW))


def batch(*items: Any, **envelope: Any) -> tracking.ParsedBatch:
    """Return the parsed batch."""
    return tracking.parse_batch(parse(json.dumps({"batch": items, **envelope}).encode()), tracking.Envelope(NOW))


COMMON: dict[str, Any] = {"message_id": "m", "at": NOW, "received": NOW}


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("track", {"userId": "a", "event": "win"}, Event("a", "win", "m", NOW, NOW)),
        ("track", {"userId": 7, "event": "win", "properties": None}, Event("7", "win", "m", NOW, NOW)),
        (
            "page",
            {"userId": "a", "name": "Pricing", "category": None, "properties": {"path": "/p", "name": "x"}},
            Event("a", "Page Viewed", "m", NOW, NOW, {"path": "/p", "name": "Pricing"}),
        ),
        ("page", {"anonymousId": "x"}, Event("anon:x", "Page Viewed", "m", NOW, NOW)),
        (
            "screen",
            {"userId": "a", "name": "Home", "category": "App"},
            Event("a", "Screen Viewed", "m", NOW, NOW, {"name": "Home", "category": "App"}),
        ),
        (
            "identify",
            {"userId": "a", "anonymousId": "x", "traits": {"tier": "vip"}, "context": {"traits": {"tier": "", "n": 1}}},
            Identify(user="a", anonymous="anon:x", traits={"tier": "vip", "n": 1}, **COMMON),
        ),
        ("identify", {"userId": "", "anonymousId": "x"}, Identify(user="anon:x", **COMMON)),
        ("identify", {"userId": "a", "anonymousId": None, "traits": None}, Identify(user="a", **COMMON)),
        ("alias", {"userId": "a", "previousId": "x"}, Alias(user="a", previous="x", **COMMON)),
        (
            "group",
            {"userId": "a", "groupId": "g", "traits": {"seats": 3}, "context": {"traits": {"tier": "vip"}}},
            Group(user="a", group="g", traits={"seats": 3}, **COMMON),
        ),
    ],
)
def test_each_type_of_call_is_a_message(kind: str, fields: dict[str, Any], message: Message) -> None:
    """Null and empty ids count as missing. Traits of the call win over those of the context."""
    assert single(kind, **fields) == message


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("identify", {}, "no_user_anon_id"),
        ("identify", {"userId": "a", "traits": "x"}, "invalid_traits"),
        ("group", {"userId": "a"}, "no_group_id"),
        ("group", {"groupId": "g"}, "no_user_anon_id"),
        ("alias", {"userId": "a"}, "no_user_previous_id"),
        ("alias", {"previousId": "a"}, "no_user_previous_id"),
        ("alias", {"userId": "anon:x", "previousId": "a"}, "reserved_user_id"),
        ("alias", {"userId": "a", "previousId": "anon:x"}, "reserved_user_id"),
        ("page", {"userId": "a", "name": ["x"]}, "invalid_field"),
    ],
)
def test_what_a_call_lacks_is_named(kind: str, fields: dict[str, Any], code: str) -> None:
    """Each missing field has its own code."""
    with pytest.raises(OpportuneError) as refused:
        single(kind, **fields)
    assert refused.value.code == code


def test_a_replay_reads_pages_and_screens_as_the_gateway_does(tmp_path: Path) -> None:
    """A campaign about pages matches the same events live and in a file. Other calls are not events."""
    stamp = "2026-09-21T09:00:00.000Z"
    calls: list[dict[str, Any]] = [
        {"type": "page", "userId": "a", "name": "Pricing", "properties": {"path": "/p", "name": "x"}},
        {"type": "page", "userId": "a", "event": "odd", "category": None},
        {"type": "screen", "anonymousId": "x", "name": "Home", "category": "App"},
        {"type": "track", "userId": "a", "event": "win", "name": 7},
    ]
    lines = [{"messageId": str(n), "timestamp": stamp, **call} for n, call in enumerate(calls)]
    lines.insert(1, {"type": "identify", "userId": "a", "name": "x"})
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join(map(json.dumps, lines)))
    live = [single(call["type"], **call) for call in calls]
    assert [(event.user, event.event, event.attributes) for event in streams.read_events(path)] == [
        (event.user, event.event, event.attributes) for event in live if isinstance(event, Event)
    ]


def test_a_batch_holds_all_types_in_order() -> None:
    """The order of messages is kept, so an identify comes before the user's events."""
    taken = batch(
        {"type": "identify", "userId": "a"},
        {"type": "track", "userId": "a", "event": "win"},
        {"type": "alias", "userId": "a", "previousId": "b"},
    )
    assert [type(message) for message in taken.messages] == [Identify, Event, Alias]
    assert taken.rejected == []


def test_the_context_of_a_batch_is_merged_into_each_item() -> None:
    """The item's own fields win, one by one."""
    taken = batch(
        {"type": "identify", "userId": "a", "context": {"ip": "1.2.3.4"}},
        {"type": "identify", "userId": "b", "context": {"traits": {"tier": "own"}}},
        {"type": "identify", "userId": "c", "context": None},
        context={"traits": {"tier": "all"}},
    )
    assert [message.traits for message in taken.messages if isinstance(message, Identify)] == [
        {"tier": "all"},
        {"tier": "own"},
        {"tier": "all"},
    ]


def test_an_event_without_an_id_gets_one_of_its_own() -> None:
    """Two equal clicks are two events, because the id is not a hash of the content."""
    click = {"type": "track", "userId": "a", "event": "click"}
    first, second = batch(click, click).messages
    assert first.message_id != second.message_id


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-09-21T09:00:00Z", 0),
        ("2026-09-21T09:00:00.5Z", 500),
        ("2026-09-21T09:00:00.123456+00:00", 123),
        ("2026-09-21T09:00:00.123456789Z", 123),
        ("2026-09-21T11:00:00.250+02:00", 250),
        ("2026-09-21T11:00:00+0200", 0),
        ("2026-9-21T9:00:00.276Z", 276),
        ("2026-9-21 4:00:00-05:00", 0),
        ("2026-09-21T09:00:00", 0),
        (NOW - 20_000_000, None),
        (str(NOW), None),
        ("soon", None),
        ("", None),
        ("2026-13-21T09:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9" * 5000, None),
        (["2026-09-21T09:00:00Z"], None),
        (None, None),
    ],
)
def test_times_are_read_as_clients_write_them(text: Any, ms: int | None) -> None:
    """Any number of digits and missing leading zeros are accepted. An unreadable time is not an error."""
    midday = 1_789_981_200_000
    assert parse_iso_ms(text) == (None if ms is None else midday + ms)


def test_a_clock_of_the_year_9999_makes_no_time_that_nobody_can_write() -> None:
    """However far apart the two times are, the corrected one is a valid date."""
    message = single("track", userId="a", event="w", timestamp="0001-01-01T00:00:00Z", sentAt="9999-12-31T00:00:00Z")
    assert message.at == NOW


def test_a_time_may_be_a_number_of_ms() -> None:
    """It may be text too. Years outside 1 to 9999 and booleans are not times."""
    assert (parse_ms(NOW), parse_ms(str(NOW))) == (NOW, NOW)
    assert (parse_ms(10**21), parse_ms(True), parse_ms(1.5)) == (None, None, None)
