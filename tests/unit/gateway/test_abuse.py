"""Abusive input: clear errors, bounded memory, and no batch that is partly accepted without saying so."""

import gzip
import json
import time
import tracemalloc
import zlib
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import body
from shared.errors import OpportuneError
from tests.support.gateway_site import Site, win

MIB = 1024 * 1024


@pytest.fixture(name="site")
def _site() -> Site:
    return Site()


def nested(depth: int, *, brackets: str = "{}") -> Any:
    """Return nested objects or lists."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if brackets == "{}" else [value]
    return value


def raw(text: str) -> bytes:
    """Return a track call with *text* as its properties."""
    return b'{"userId": "anna", "event": "game_result", "properties": ' + text.encode("utf-8", "surrogatepass") + b"}"


BAD_TEXT = {
    "huge number": ('{"a": 9223372036854775808}', "huge_number"),
    "huge negative number": ('{"a": [-9223372036854775809]}', "huge_number"),
    "number of 5000 digits": ('{"a": %s}' % ("9" * 5000), "malformed_json"),
    "number that is no double": ('{"a": 1e400}', "malformed_json"),
    "not a number": ('{"a": NaN}', "malformed_json"),
    "NUL": (r'{"a": "x\u0000y"}', "invalid_character"),
    "NUL in a key": (r'{"x\u0000y": {"b": 1}}', "invalid_character"),
    "raw NUL": ('{"a": "\0"}', "malformed_json"),
    "half a surrogate pair": (r'{"a": "\ud800"}', "malformed_json"),
    "surrogates the wrong way round": (r'{"a": "\udc00\ud800"}', "malformed_json"),
    "raw surrogate": ('{"a": "\ud800"}', "malformed_json"),
    "key twice": ('{"a": 1, "b": 2, "a": 3}', "duplicate_key"),
    "key twice, once escaped": (r'{"a": 1, "\u0061": 3}', "duplicate_key"),
    "key twice, spaced": ('{"a" \n:1, "mood": ":)", "a"\t: 3}', "duplicate_key"),
    "key twice, deep down": ('{"x": [{"y": {"a": 1, "a": 1}}]}', "duplicate_key"),
    "a second value": ("{}} {", "malformed_json"),
    "too deep": (json.dumps(nested(9)), "too_deep"),
    "too deep, by lists": (json.dumps({"a": nested(9, brackets="[]")}), "too_deep"),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_what_cannot_be_stored_or_read_in_one_way_is_refused_by_name(site: Site, name: str) -> None:
    """A single call gets the code, and nothing is passed on."""
    text, code = BAD_TEXT[name]
    status, answer = site.post("/v1/track", raw(text))
    assert (status, answer["code"], site.decider.decided) == (400, code, [])


# Text that many libraries write, and that has an end.
COSTS_ONE_ITEM = {"number that is no double", "not a number", "half a surrogate pair", "surrogates the wrong way round"}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_in_a_batch_it_is_named_or_all_of_it_refused(site: Site, name: str) -> None:
    """A bad item does not affect the others, if it is clear where it ends; other invalid JSON is refused as a whole."""
    text, code = BAD_TEXT[name]
    good = json.dumps(win(type="track", messageId="good"))
    bad = raw(text)[:-1] + b', "type": "track", "messageId": "bad"}'
    status, answer = site.post("/v1/batch", b'{"batch": [%s, %s]}' % (bad, good.encode()))
    if code in ("malformed_json", "duplicate_key") and name not in COSTS_ONE_ITEM:
        assert (status, answer["code"], site.decider.decided) == (400, code, [])
    else:
        assert status == 200
        assert [(item["messageId"], item["code"]) for item in answer["rejected"]] == [("bad", code)]
        assert [event.message_id for event in site.decider.decided[0].events] == ["good"]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 9223372036854775807, "b": -9223372036854775808}',
        '{"mood": ":)", "quote": "\\": \\":", "b": {"mood": ":"}}',
        r'{"a": "\\u0000"}',
        r'{"a": "\ud83d\ude00"}',
        json.dumps(nested(8)),
        json.dumps({str(n): n for n in range(2000)}),
        '{"": {"": {"": 1}}}',
    ],
)
def test_what_only_looks_bad_is_taken(site: Site, text: str) -> None:
    """Values at the limit, and strings that look like bad input, are accepted."""
    assert site.post("/v1/track", raw(text))[0] == 200
    assert len(site.decider.decided) == 1


@pytest.mark.parametrize("depth", [1_000, 10_000, 100_000])
def test_depth_does_not_exhaust_the_stack(depth: int) -> None:
    """The depth exceeds the parser's limit and the size of the stack."""
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        with pytest.raises(OpportuneError):
            body.check(body.parse(opening * depth + b"1" + closing * depth).value, "it", 9, may_have_nul=False)


@cache
def bombs() -> dict[str, bytes]:
    """Return small bodies that decompress to 100 MiB and more."""
    one = gzip.compress(b" " * (100 * MIB), 9)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    cut = packer.compress(b"[" * (100 * MIB)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return {
        "one": one,
        "twice packed": gzip.compress(one),
        "many members": gzip.compress(b" " * 400_000) * 800,
        "cut": cut,
    }


@pytest.mark.parametrize("name", ["one", "twice packed", "many members", "cut"])
@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_a_zip_bomb_is_refused_in_flat_memory(site: Site, name: str, encoding: str) -> None:
    """Decompression stops at the limit, in less than 4 MiB and one second."""
    bomb = bombs()[name]
    site.post("/v1/batch", {"batch": []})
    tracemalloc.start()
    started = time.process_time()
    try:
        status, answer = site.post("/v1/batch", bomb, headers={"content-encoding": encoding})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (status, answer["code"]) in ((413, "too_large"), (400, "malformed_json"))
    assert peak < 4 * MIB
    assert time.process_time() - started < 1


def test_the_worst_body_is_looked_over_in_flat_memory(site: Site) -> None:
    """For 500 KB of keys, empty objects or strings that look like keys, memory is a bounded multiple of the body."""
    worst = [
        b'{"batch":[' + b",".join([b"{}"] * 160_000) + b"]}",
        b'{"batch":[{' + b",".join(b'"%d":0' % n for n in range(45_000)) + b"}]}",
        b'{"batch":[' + b",".join([b'":"'] * 120_000) + b"]}",
        b'{"batch":[' + b"[" * 200 + b"]" * 200 + b"]}",
    ]
    for content in worst:
        assert len(content) < body.MAX_BATCH_BYTES
        tracemalloc.start()
        started = time.process_time()
        try:
            status, _ = site.post("/v1/batch", content, key="secret")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert status in (200, 400, 413)
        assert peak < 60 * MIB
        assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("encoding", "content", "code"),
    [
        ("br", b"\x0b\x02\x80", "unsupported_encoding"),
        ("deflate", zlib.compress(b"{}"), "unsupported_encoding"),
        ("gzip, br", b"{}", "unsupported_encoding"),
        ("", "\x1f\ufffd\x08".encode(), "mangled_gzip"),
        ("gzip", "\x1f\ufffd\x08".encode(), "mangled_gzip"),
    ],
)
def test_other_packings_are_415(site: Site, encoding: str, content: bytes, code: str) -> None:
    """Gzip that a proxy decoded as text gets an error that says what to do."""
    status, answer = site.post("/v1/track", content, headers={"content-encoding": encoding})
    assert (status, answer["code"]) == (415, code)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity", "", " gzip "])
def test_gzip_is_unpacked_by_header_or_by_its_first_bytes(site: Site, encoding: str) -> None:
    """PostHog's library sends it without a header, RudderStack's with another content type."""
    packed = gzip.compress(json.dumps(win()).encode())
    assert site.post("/v1/track", packed, headers={"content-encoding": encoding})[0] == 200
    assert len(site.decider.decided) == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json;charset=UTF-8", "text/plain", "application/x-www-form-urlencoded", "", "\0"],
)
@pytest.mark.parametrize("as_text", [True, False])
def test_any_content_type_will_do(site: Site, content_type: str, as_text: bool) -> None:
    """API Gateway passes some bodies on as text and some as base64; both work."""
    event = site.event("POST", "/v1/track", json.dumps(win(writeKey="public")).encode(), {"content-type": content_type})
    if as_text:
        event.update(body=json.dumps(win(writeKey="public")), isBase64Encoded=False)
    assert site.send(event)["statusCode"] == 200


@pytest.mark.parametrize(("content", "is_base64"), [("!", True), ("\ud800", False), (None, True), (None, False)])
def test_a_body_that_cannot_be_read_is_refused(site: Site, content: str | None, is_base64: bool) -> None:
    """It never crashes."""
    event = {**site.event("POST", "/v1/track"), "body": content, "isBase64Encoded": is_base64}
    assert site.send(event)["statusCode"] == 400


VALID = json.dumps({"batch": [win(type="track", context={"mood": ":)", "é": [1, {"a": None}]})] * 2}).encode()


@given(
    cuts=st.lists(st.tuples(st.integers(0, len(VALID)), st.binary(max_size=4), st.integers(0, 4)), max_size=6),
    packed=st.booleans(),
    broken=st.integers(0, 40),
)
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_no_bytes_make_it_fail(cuts: list[tuple[int, bytes, int]], packed: bool, broken: int) -> None:
    """A mutated batch, compressed or not, is accepted or gets an error with a code."""
    content = VALID
    for place, piece, gone in cuts:
        content = content[:place] + piece + content[place + gone :]
    if packed:
        content = gzip.compress(content)
        content = content[: len(content) - broken] if broken < 20 else content[:broken] + content[broken + 1 :]
    status, answer = Site().post("/v1/batch", content)
    assert status in (200, 400, 413, 415)
    assert (status == 200) == answer["success"]
    assert status == 200 or (answer["code"] and answer["message"])


@pytest.mark.parametrize("field", ["userId", "anonymousId", "event", "messageId"])
def test_ids_and_names_have_a_longest_length(site: Site, field: str) -> None:
    """The limit is in characters, not in bytes."""
    longest = 100 if field == "messageId" else 256
    for letter in ("x", "\N{GRINNING FACE}"):
        fields = {"userId": None, "anonymousId": "x", field: letter * longest}
        assert site.post("/v1/track", win(**fields))[0] == 200
        status, answer = site.post("/v1/track", win(**{**fields, field: letter * (longest + 1)}))
        assert (status, answer["code"]) == (400, "invalid_field")
