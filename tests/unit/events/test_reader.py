"""The reader of recorded events follows the Gateway.

The class of fault: a file is read by other rules than a request. Then a replay counts what live would refuse, joins no
visitor with a user, or stops at a byte that every exporter writes. So each line goes through the Gateway's own parsing,
or through a faster way that this module compares with it.
"""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from gateway import tracking
from gateway.body import MAX_EVENT_BYTES, Body, Shape
from opportune.events import ndjson, streams
from opportune.events.streams import InvalidStream, Recorded

T0 = 1_790_000_000_000
STAMP = "2026-09-21T14:13:20.000Z"
SUSPECT = Shape(99, 0, huge=True)


def call(n: int, **fields: Any) -> dict[str, Any]:
    """Return an ordinary track call with *fields*; ``...`` removes one."""
    item = {"type": "track", "userId": f"u{n % 7}", "event": "win", "messageId": f"m{n}", "timestamp": STAMP}
    return {name: value for name, value in {**item, "properties": {"n": n}, **fields}.items() if value is not ...}


def nested(levels: int) -> Any:
    """Return a value with that many levels."""
    return {"a": nested(levels - 1)} if levels else 1


ODD: list[dict[str, Any]] = [
    {"userId": "undefined"}, {"userId": "anon:x"}, {"userId": "x" * 257}, {"userId": "x" * 256}, {"userId": 7},
    {"userId": 7.0}, {"userId": True}, {"userId": ["u"]}, {"userId": None}, {"userId": ""}, {"userId": "\u200b"},
    {"userId": ..., "anonymousId": "v"}, {"userId": ..., "anonymousId": 7}, {"userId": None, "anonymousId": "null"},
    {"anonymousId": {"a": 1}}, {"anonymousId": "v" * 300}, {"anonymousId": "v"}, {"userId": ..., "anonymousId": ""},
    {"event": ...}, {"event": ""}, {"event": None}, {"event": 7}, {"event": "e" * 257}, {"event": ["e"]},
    {"event": "a\0b"},
    {"messageId": "m" * 101}, {"messageId": 7}, {"messageId": {"a": 1}}, {"messageId": ["m"]},
    {"timestamp": ...}, {"timestamp": "soon"}, {"timestamp": 1.5}, {"timestamp": True}, {"timestamp": T0},
    {"timestamp": "2026-09-21"}, {"originalTimestamp": "2026-09-20T00:00:00Z"}, {"originalTimestamp": "garbage"},
    {"originalTimestamp": "2026-09-20T00:00:00Z", "receivedAt": STAMP},
    {"originalTimestamp": T0 - 9000, "sentAt": T0 - 8000, "receivedAt": T0, "timestamp": ...}, {"receivedAt": ""},
    {"originalTimestamp": T0 - 9000, "sentAt": T0 - 8000, "receivedAt": STAMP}, {"receivedAt": None},
    {"originalTimestamp": T0 - 9000, "receivedAt": T0, "timestamp": None},
    {"properties": []}, {"properties": "x"}, {"properties": None}, {"properties": ...}, {"properties": nested(8)},
    {"properties": nested(9)}, {"properties": {"n": 2**63}}, {"properties": {"n": -(2**63)}},
    {"properties": {"t": "\0"}},
    {"properties": {"t": "x" * 33_000}}, {"properties": {"t": "x" * 32_000}}, {"properties": {"a": [[1], {"b": [2]}]}},
    {"properties": {"t": '":":'}}, {"context": nested(9)}, {"context": nested(8)}, {"context": "x"}, {"context": {}},
    {"extra": [1, 2, {"a": {}}], "context": {"page": {}, "app": {}, "os": {}, "screen": {}, "x": {"y": {}}}},
    {"type": "page", "name": "Home"}, {"type": "page", "name": 7}, {"type": "page", "name": "x" * 300},
    {"type": "screen", "category": "App", "event": "odd"}, {"type": "page", "name": {"a": 1}},
    {"type": "page", "event": ...},
    {"type": "identify"}, {"type": "identify", "anonymousId": "v"}, {"type": "identify", "traits": 5},
    {"type": "alias", "previousId": "v"}, {"type": "alias"}, {"type": "group", "groupId": "g"}, {"type": "group"},
    {"type": "shout"}, {"type": None}, {"type": 7}, {"type": ""}, {"type": "Track"}, {"type": "track", "name": ["x"]},
]  # fmt: skip


def gateway(item: dict[str, Any]) -> Any:
    """Return what the Gateway reads in *item* as history, or its refusal."""
    context = item.get("context")
    marked = {**(context if isinstance(context, dict) else {}), "opportune": {"history": True}}
    body = Body({"batch": [{**item, "context": marked}]}, SUSPECT, may_have_nul=True, size=MAX_EVENT_BYTES + 1)
    parsed = tracking.parse_batch(body, tracking.Envelope(2 * T0, trusted=True))
    return parsed.messages[0] if parsed.messages else parsed.rejected[0]


def write(path: Path, *lines: Any) -> Path:
    """Write *lines*, JSON values or bytes, to *path*."""
    path.write_bytes(b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines))
    return path


def fields(event: Recorded) -> tuple[Any, ...]:
    """Return what counts of an event."""
    return event.user, event.event, event.attributes, event.at, event.visitor


@pytest.mark.parametrize("place", ["first block", "later block"])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: json.dumps(odd, default=str)[:40])
def test_a_line_counts_for_what_the_gateway_reads(tmp_path: Path, odd: dict[str, Any], place: str) -> None:
    """Both ways of the reader agree with the Gateway about each odd field: what it is, or that it is refused."""
    many = [call(n) for n in range(0 if place == "first block" else 1200)]
    item = call(5000, **odd)
    path = write(tmp_path / "e.ndjson", *many, item, call(5001), *many)  # not in the last block, which is short
    expected = gateway(item)
    if isinstance(expected, tracking.Remark):
        with pytest.raises(InvalidStream) as refused:
            list(streams.read_events(path))
        assert refused.value.message.startswith(f"e.ndjson:{len(many) + 1}: ")
        if expected.code != "invalid_timestamp":
            assert refused.value.message.endswith(expected.message)
        return
    found = [event for event in streams.read_events(path) if len(many) < event.line <= len(many) + 2]
    assert found[-1].message_id == "m5001"
    assert [each.line for each in found] == [len(many) + n + 1 for n in range(2)][-len(found) :]
    if hasattr(expected, "attributes"):
        (event, _) = found
        assert fields(event) == (expected.user, expected.event, expected.attributes, expected.at, "")
        assert event.message_id == (item.get("messageId") or f"e.ndjson:{event.line}@{event.at}") or odd
    else:
        visitor = f"anon:{expected.previous}" if hasattr(expected, "previous") else getattr(expected, "anonymous", "")
        assert [fields(each) for each in found[:-1]] == ([(expected.user, "", {}, T0, visitor)] if visitor else [])


def test_both_ways_read_random_streams_alike(tmp_path: Path) -> None:
    """Lines with random odd fields among ordinary ones: the fast way and the Gateway's yield the same records."""
    rng = random.Random(7)
    accepted = [odd for odd in ODD if not isinstance(gateway(call(1, **odd)), tracking.Remark)]
    for n in range(4):
        items = [call(k, **(rng.choice(accepted) if rng.random() < 0.02 * n else {})) for k in range(1500)]
        path = write(tmp_path / f"{n}.ndjson", *items)
        slow = [recorded for each in streams.read_calls(path) if (recorded := each.recorded) is not None]
        fast = list(streams.read_events(path))
        assert [(fields(e), e.message_id, e.line) for e in fast] == [(fields(e), e.message_id, e.line) for e in slow]


@pytest.mark.parametrize(
    "lines",
    [
        b"\xef\xbb\xbf%b\n%b\n", b"%b\r\n%b\r\n", b"\n\n%b\n\n\r\n  \n%b\n\n", b"%b\n%b", b"\t%b \n %b\t",
        b"%b\n\xef\xbb\xbf%b\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_forms_of_lines_that_exporters_write(tmp_path: Path, lines: bytes, suffix: str) -> None:
    """A byte order mark, line ends of Windows and blank lines mean nothing."""
    text = lines % tuple(json.dumps(call(n)).encode() for n in (1, 2))
    path = tmp_path / f"e{suffix}"
    path.write_bytes(gzip.compress(text) if suffix.endswith("gz") else text)
    assert [event.message_id for event in streams.read_events(path)] == ["m1", "m2"]
    assert [event.message.message_id for event in streams.read_calls(path)] == ["m1", "m2"]


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"userId": "a"', b"%b,", b"%b}", b"%b%b", b"\x00", b"[%b]", b'"text"', b"7", b"null",
        b"\xff\xfe", b"]", b"# end",
        b'{"userId": "u", "userId": "v", "event": "win", "timestamp": 1}', b'{"event": "\\ud800", "userId": "u"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [1, 1200])
def test_garbage_is_named_with_its_line(tmp_path: Path, garbage: bytes, before: int) -> None:
    """The error has the file and the line, wherever the line is."""
    bad = garbage.replace(b"%b", json.dumps(call(1)).encode())
    path = write(tmp_path / "e.ndjson", *(call(n) for n in range(before)), bad)
    with pytest.raises(InvalidStream, match=rf"^e\.ndjson:{before + 1}: "):
        list(streams.read_events(path))
    with pytest.raises(InvalidStream, match=rf"^e\.ndjson:{before + 1}: "):
        list(streams.read_calls(path))


ARCHIVED: list[tuple[dict[str, Any], int, int]] = [
    # the clock of the device was an hour ahead; Segment has corrected `timestamp`
    (
        {"originalTimestamp": T0 + 3_600_000, "sentAt": T0 + 3_605_000, "receivedAt": T0 + 5000, "timestamp": T0},
        0,
        5000,
    ),
    (
        {"originalTimestamp": T0 + 3_600_000, "sentAt": T0 + 3_605_000, "receivedAt": T0 + 5000, "timestamp": ...},
        0,
        5000,
    ),
    ({"sentAt": "1970-01-01T00:00:00Z", "receivedAt": "2026-09-21 14:13:21 UTC", "timestamp": STAMP}, 0, 1000),
    ({"originalTimestamp": T0 + 9000, "timestamp": T0}, 9000, 0),
    ({"originalTimestamp": None, "receivedAt": "", "timestamp": str(T0 // 1000)}, 0, 0),
    ({"originalTimestamp": "soon", "receivedAt": T0 * 1000, "timestamp": T0}, 0, 0),
]


@pytest.mark.parametrize("before", [0, 1200])
@pytest.mark.parametrize(("times", "at", "received"), ARCHIVED)
def test_the_corrected_time_of_an_archive_counts(
    tmp_path: Path, times: dict[str, Any], at: int, received: int, before: int
) -> None:
    """With `receivedAt`, the first receiver has corrected `timestamp`. It is not corrected again."""
    many = [call(n) for n in range(before)]
    path = write(tmp_path / "e.ndjson", *many, call(1, **times), *(call(n, receivedAt=STAMP) for n in range(before)))
    (event,) = [each for each in streams.read_events(path) if each.line == before + 1]
    (sent,) = [each for each in streams.read_calls(path) if each.line == before + 1]
    assert (event.at - T0, sent.message.at - T0, sent.received) == (at, at, event.received)
    assert event.received == (T0 + received if times.get("receivedAt") else 0)


@pytest.mark.parametrize("before", [0, 1200])
@pytest.mark.parametrize("field", ["timestamp", "originalTimestamp", "receivedAt"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1, "ten years"), ("1970-01-01", "ten years"), ("2006-09-21T14:13:20.000Z", "ten years"),
        ("2099-01-01T00:00:00.000Z", "ahead of the clock"), (4_000_000_000, "ahead"), ("4e12", "ahead"),
        ("0001-01-01T00:00:00Z", "ten years"), (-62135596800, "ten years"),
    ],
)  # fmt: skip
def test_a_time_that_cannot_be_meant_is_named(tmp_path: Path, field: str, value: Any, says: str, before: int) -> None:
    """Live, such an event would count as now. In a file it is an error that names line and field."""
    many = [call(n) for n in range(before)]
    path = write(tmp_path / "e.ndjson", *many, call(1, **{field: value}), *many)
    for read in (streams.read_events, streams.read_calls):
        with pytest.raises(InvalidStream) as refused:
            list(read(path))
        assert refused.value.message.startswith(f"e.ndjson:{before + 1}: '{field}' {value!r}")
        assert says in refused.value.message or "is not a time" in refused.value.message


def test_a_file_in_utf_16_is_named(tmp_path: Path) -> None:
    """The error says how to save the file."""
    path = tmp_path / "e.ndjson"
    path.write_bytes(json.dumps(call(1)).encode("utf-16"))
    with pytest.raises(InvalidStream, match=r"e\.ndjson:1: the file is UTF-16: save it as UTF-8"):
        list(streams.read_events(path))


def test_a_login_without_a_time_happens_with_the_line_before_it(tmp_path: Path) -> None:
    """An event needs a time. An identify or alias takes that of the line before it, in any block."""
    untimed = {"type": "identify", "userId": "u1", "anonymousId": "v"}
    path = write(tmp_path / "e.ndjson", call(1), untimed, *(call(n) for n in range(2, 1200)), untimed, call(9))
    logins = [event for event in streams.read_events(path) if event.visitor]
    assert [(event.user, event.visitor, event.at) for event in logins] == [("u1", "anon:v", T0)] * 2


def test_rows_of_csv_follow_the_same_rules(tmp_path: Path) -> None:
    """An id that the Gateway refuses is refused with its line. `anon:` marks a visitor."""
    path = tmp_path / "e.csv"
    path.write_text(f"user_id,event,timestamp,n\r\nu1,win,{T0},1\r\n\r\nanon:v,win,{STAMP},x\r\n", encoding="utf-8-sig")
    events = list(streams.read_events(path))
    assert [fields(event) for event in events] == [
        ("u1", "win", {"n": 1}, T0, ""),
        ("anon:v", "win", {"n": "x"}, T0, ""),
    ]
    assert [each.recorded for each in streams.read_calls(path)] == events
    for bad in (
        "u,win,1,1",
        "u,win,2099-01-01,1",
        f"undefined,win,{T0},1",
        f"u,{'e' * 300},{T0},1",
        f"u,win,{T0},\0",
        f",win,{T0},1",
        "u,win,soon,1",
    ):
        path.write_text(f"user_id,event,timestamp,n\nu1,win,{T0},1\n{bad}\n")
        with pytest.raises(InvalidStream, match=r"^e\.csv:3: "):
            list(streams.read_events(path))


def test_blocks_are_split_at_any_byte(tmp_path: Path) -> None:
    """The size of the chunks changes nothing."""
    path = write(tmp_path / "e.ndjson", *(call(n, event="é" * (n % 5 + 1)) for n in range(40)))
    expected = [fields(event) for event in streams.read_events(path)]
    for size in (1, 7, 100, 1000):
        with path.open("rb") as file:
            blocks = list(ndjson.read_blocks(file, path.name, size))
        assert [fields(event) for block in blocks for event in block] == expected
