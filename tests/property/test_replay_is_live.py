"""A replay finds the matches that live finds: random streams go through both.

The class of fault: live knows something that a replay does not, so a backtest promises other matches. Logins, aliases,
repeated messages, page views, odd fields and events that arrive late are in the streams. Live is the Gateway's parsing,
and the Decider on real Valkey and mongod, woken before each message; the replay reads the same messages from a file.
"""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo.database import Database
from redis import Redis

from decider import keys
from decider.timers import GRACE_MS
from decider.wake import wake
from gateway import body, tracking
from gateway.decider_client import build_request
from gateway.write_keys import SiteAccess
from opportune.events import streams
from opportune.replay.engine import Replay
from shared.contracts import Decide, SiteCatalogue, Wake, write_key
from shared.ruleset import Campaign
from tests.support.builders import THREE_WINS, compiled
from tests.support.decider_harness import DeciderHarness

T0 = 1_790_000_000_000
END = 3_600_000
IDS = ["anna", "bob", "7", "anon:v0", "anon:v1", "anon:v2"]
ODD: list[dict[str, Any]] = [
    {}, {}, {}, {}, {}, {"userId": 7}, {"anonymousId": "v0"}, {"properties": None}, {"properties": {}},
    {"extra": {"a": []}},
    {"properties": {"x": "x", "p": 7.0}}, {"properties": {"x": ["x"], "p": None}}, {"context": {"app": {"name": "x"}}},
    {"type": "page", "name": "A"}, {"messageId": ""}, {"name": 7}, {"originalTimestamp": None},
    {"originalTimestamp": ""},
    {"context": {"device": {"type": "mobile"}}}, {"context": {"device": {"type": "mobile"}, "timezone": "Asia/Tokyo"}},
    {"context": {"device": {"type": "desktop"}, "timezone": "UTC"}}, {"context": {"device": "mobile"}}, {"context": []},
    {"properties": {"context": {"device": {"type": "mobile"}}}}, {"properties": {"context.device.type": "mobile"}},
]  # fmt: skip
SHAPES: list[dict[str, Any]] = [
    {"sequence": [{"event": "A"}, {"event": "B"}], "within": "20s"},
    {"sequence": [{"event": "A", "times": 3}], "within": "30s", "after_match": "every"},
    {"sequence": [{"event": "A", "times": 2, "consecutive": True}], "subject": ["A", "B"], "within": "1m"},
    {"sequence": [{"event": "A"}, {"event": "B", "gap": "9s"}], "within": "1m", "after_match": "once"},
    {"sequence": [{"event": "A"}, {"event": "C", "not_before": [{"event": "B"}]}], "within": "1m"},
    {"sequence": [{"event": "A", "times": 2}], "within": "1m", "reset_on": [{"event": "C"}]},
    {"sequence": [{"event": "A"}, {"event": "B"}], "within": "1m", "per": "p", "after_match": "overlap"},
    {"all_of": [{"event": "A"}, {"event": "B"}, {"event": "C"}], "within": "1m"},
    {"sequence": [{"event": "A", "where": {"x": "x"}}], "unless": {"event": "B", "for": "10s"}},
    {"sequence": [{"event": "A"}], "unless": {"event": "C", "for": "10s", "anchor": "last"}, "per": "p"},
    {"sequence": [{"event": "Page Viewed"}, {"event": "A"}], "within": "30s"},
    {"sequence": [{"event": "A", "where": {"context.device.type": "mobile"}}], "after_match": "every", "within": "1m"},
    {"sequence": [{"event": "A"}, {"event": "B"}], "within": "1m", "per": "context.timezone"},
]


def stream(rng: random.Random, names: list[str], *, is_late: bool) -> list[dict[str, Any]]:
    """Return the messages of three visitors and two users in the order in which they arrive.

    *is_late*: some events arrive late, and say when.
    """
    at = T0
    items: list[dict[str, Any]] = []
    for n in range(rng.randint(10, 40)):
        at += rng.choice([0, 1, 500, 1000, 1000, 3000, 9000])
        item: dict[str, Any] = {"messageId": f"m{n}", "timestamp": at}
        visitor, user = f"v{rng.randrange(3)}", rng.choice(["anna", "bob"])
        kind = rng.random()
        if kind < 0.1:
            item |= {"type": "identify", "userId": user, "anonymousId": visitor}
        elif kind < 0.15:
            item |= {"type": "alias", "userId": user, "previousId": visitor}
        elif kind < 0.2 and items:
            item = {**rng.choice(items)}
            item["receivedAt" if "receivedAt" in item else "timestamp"] = at
        else:
            item |= {"type": "track", "event": rng.choice(names)}
            item |= {"userId": user} if rng.random() < 0.5 else {"anonymousId": visitor}
            item["properties"] = {"x": rng.choice("xy"), "p": rng.choice(["p", "q", 7]), "outcome": "win"}
            item |= rng.choice(ODD)
            item["messageId"] = item["messageId"] or f"blank{n}"
            if is_late and rng.random() < 0.4:
                item |= {"receivedAt": at, "timestamp": at - rng.choice([100, 3000, 7000, 20_000, 300_000, 300_001])}
        items.append(item)
    return items


def live(harness: DeciderHarness, items: list[dict[str, Any]], campaigns: list[Campaign]) -> Counter[Any]:
    """Send each message when it happens; return the matches."""
    key = write_key("k", secret=True)
    index = harness.rulesets.get()["demo"].index
    access = SiteAccess("demo", SiteCatalogue([key], index.catalogue()), key)

    partitions = {keys.partition("demo", each) for each in IDS}

    def wake_at(now: int) -> None:
        for number in partitions:
            if harness.redis.zcount(keys.timers(number), "-inf", now):
                wake(Wake(number, number), replace(harness.deps, clock=lambda: now), lambda _: None)

    for item in items:
        now = item.get("receivedAt", item["timestamp"])
        wake_at(now + GRACE_MS if item["type"] in ("identify", "alias") else now)
        raw = body.parse(json.dumps({"batch": [item]}).encode())
        parsed = tracking.parse_batch(raw, tracking.Envelope(now, trusted=True))
        request = build_request(access, parsed.messages, deadline=now + 2000)
        harness.ingest(msgspec.json.decode(msgspec.json.encode(request), type=Decide))
    wake_at(T0 + END + GRACE_MS)
    assert not harness.outbox.recorded
    handed_over = {each.id: each for each in harness.outbox.queued}  # an activation may be handed over again
    return Counter((each.user, each.campaign, each.at, each.per) for each in handed_over.values())


def played(path: Path, items: list[dict[str, Any]], campaigns: list[Campaign]) -> Counter[Any]:
    """Replay the messages; return the matches."""
    path.write_text("".join(json.dumps(item) + "\r\n" for item in items), encoding="utf-8-sig")
    backtest = Replay(campaigns)
    found = [*backtest.run(streams.read_events(path)), *backtest.finish(T0 + END)]
    return Counter((each.user, each.campaign, each.at, each.per) for each in found)


def test_a_replay_finds_what_live_finds(redis_client: Redis, mongodb: Database[dict[str, Any]], tmp_path: Path) -> None:
    """The same matches, by user, campaign, ms and run. In every other stream, events arrive late."""
    rng = random.Random(5)
    matches = logged_in = late = 0
    for n in range(40):
        shapes = rng.sample(SHAPES, 4)
        triggers = [compiled(shape, name=f"c{k}", channel="email") for k, shape in enumerate(shapes)]
        redis_client.flushall()
        for collection in (mongodb.rulesets, mongodb.control):
            collection.delete_many({})
        harness = DeciderHarness(redis_client, mongodb, triggers)
        items = stream(rng, ["A", "A", "B", "C"], is_late=n % 2 == 1)
        late += sum("receivedAt" in item for item in items)
        expected = live(harness, items, triggers)
        assert played(tmp_path / "e.ndjson", items, triggers) == expected, (n, items)
        matches += expected.total()
        logged_in += sum(item["type"] in ("identify", "alias") for item in items)
    assert matches > 100
    assert logged_in > 30
    assert late > 80


@pytest.mark.parametrize("login", [{"type": "identify", "anonymousId": "v"}, {"type": "alias", "previousId": "v"}])
def test_a_login_joins_visitor_and_user(tmp_path: Path, login: dict[str, Any]) -> None:
    """Two wins before the login and one after it match, with all three message ids, as the user."""
    win = {"type": "track", "event": "game_result", "properties": {"outcome": "win"}}
    items = [
        {**win, "anonymousId": "v", "messageId": "m0", "timestamp": T0},
        {**win, "anonymousId": "v", "messageId": "m1", "timestamp": T0 + 1},
        {**login, "userId": "anna", "timestamp": T0 + 2},
        {**win, "userId": "anna", "messageId": "m2", "timestamp": T0 + 3},
    ]
    path = tmp_path / "e.ndjson"
    path.write_text("\n".join(map(json.dumps, items)))
    (match,) = Replay([compiled(THREE_WINS)]).run(streams.read_events(path))
    assert (match.user, match.message_ids) == ("anna", ["m0", "m1", "m2"])
