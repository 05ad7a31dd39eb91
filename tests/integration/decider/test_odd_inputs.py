"""Inputs that no honest client sends are rejected with a reason. They never crash or block others."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys, rulesets
from decider.event_index import EventIndex
from decider.ingest import ingest
from decider.wake import wake
from gateway import body, tracking
from opportune.events import streams
from shared.contracts import Decide, Event, Wake
from shared.errors import InvalidRequest
from shared.refreshing_cache import RefreshingCache
from shared.ruleset import Ruleset
from tests.support.builders import compiled
from tests.support.decider_harness import Outbox, decider_deps

T0 = 1_790_000_000_000
HOUR_MS = 3_600_000
CARTS = compiled(
    {"sequence": [{"event": "cart"}], "unless": {"event": "order", "for": "1h"}, "per": ["cart_id"]},
    name="cart",
    channel="email",
)
ODD = [
    "a{b}c", "{p0}", "{}", "a:b", "u:demo:x", 'q"uo\\te/s', "nul\0x", "del\x7f", "\u2028\u2029", "é" * 256,
    "\U0001f600", "\uffff\ufffe", " ", "\n\r\t", "%d+%", "1:2:3,", "?", "[", "\x1f", "\x80\x9f", "1e5", "true",
]  # fmt: skip


class Nobody:
    """Targets of a site without groups."""

    def groups(self, site: str, generation: int, user: str) -> list[str]:
        """Return that *user* is in no group."""
        del site, generation, user
        return []


def corrupt() -> bytes:
    """Return gzip with a correct header and broken content."""
    packed = gzip.compress(b'{"userId": "anna", "event": "game_result"}' * 20, mtime=0)
    return packed[:10] + b"\xff" * 6 + packed[16:]


def read(path: Path) -> Iterator[streams.Recorded]:
    """Return the events of *path*."""
    return streams.read_events(path)


def test_corrupt_gzip_is_refused() -> None:
    """A body with gzip's first bytes and then nonsense is the sender's error."""
    with pytest.raises(InvalidRequest) as refused:
        body.decompress(corrupt(), "gzip", body.MAX_EVENT_BYTES)
    assert refused.value.code == "malformed_gzip"


@pytest.mark.parametrize("kind", [["track"], {"track": 1}, None, 1, True])
def test_a_type_that_is_no_text_does_not_take_the_batch_with_it(kind: object) -> None:
    """The bad item is named, and the good one beside it accepted."""
    good = {"type": "track", "userId": "anna", "event": "game_result", "messageId": "good"}
    sent = body.parse(json.dumps({"batch": [{**good, "type": kind}, good]}).encode())
    taken = tracking.parse_batch(sent, tracking.Envelope(T0))
    assert [message.message_id for message in taken.messages] == ["good"]
    assert [(refusal.position, refusal.code) for refusal in taken.rejected] == [(0, "invalid_type")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bytes.ndjson", b'{"userId": "\xff", "event": "x", "timestamp": 1}\n'),
        (
            "deep.ndjson",
            b'{"userId": "a", "event": "x", "timestamp": 1, "properties": ' + b"[" * 9000 + b"]" * 9000,
        ),
        ("digits.ndjson", json.dumps({"userId": "a", "event": "x", "timestamp": "9" * 5000}).encode()),
        ("number.ndjson", b'{"userId": "a", "event": "x", "timestamp": 179000000000000000000000}'),
        ("bytes.csv", b"user_id,event,timestamp,z\na,x,1,\xff\n"),
        ("long.csv", b"user_id,event,timestamp,z\na,x,1," + b"z" * 200_000 + b"\n"),
        ("corrupt.ndjson.gz", corrupt()),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    """Bad bytes, depth, times and compression raise `InvalidStream` with the file's name."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(streams.InvalidStream, match=name.partition(".")[0]):
        list(read(path))


@pytest.mark.parametrize("odd", ODD)
def test_odd_names_are_found_again(redis_client: Redis, mongodb: Database[dict[str, Any]], odd: str) -> None:
    """A user and a run of any name: the order cancels, the absence falls due after an hour, no timer stays."""
    site = rulesets.SiteRules(EventIndex(Ruleset("demo", 1, [], [CARTS])), 1)
    pages: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
        lambda _: rulesets.Rulesets({"demo": site}), every_s=3600, clock=lambda: 0, on_error=print
    )
    outbox = Outbox()
    deps = decider_deps(pages, redis_client, mongodb, outbox, targets=Nobody())
    timers = keys.timers(keys.partition("demo", odd))
    waiting = []
    for n, name in enumerate(("cart", "order", "cart")):
        event = Event(odd, name, f"{odd}{n}", T0 + n, T0 + n, {"cart_id": odd})
        ingest(Decide("demo", [event], deadline=T0), deps)
        waiting.append(redis_client.zcard(timers))
    assert waiting == [1, 0, 1]
    assert wake(Wake(), replace(deps, clock=lambda: T0 + HOUR_MS + 6000), print).absences == 1
    assert [(each.user, each.at) for each in outbox.queued] == [(odd, T0 + 2 + HOUR_MS)]
    assert redis_client.zcard(timers) == 0
    assert redis_client.hlen(keys.unacknowledged(keys.partition("demo", odd))) == 0
