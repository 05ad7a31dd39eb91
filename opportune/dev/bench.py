"""Measure each figure of `opportune bench` beside a floor, both in the same run.

A ratio says more than a time, because the speed of the machine cancels out.
"""

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from decider.event_index import EventIndex
from decider.user_state import ApplyEvent, TriggerCall, UserStateStore
from decider.wiring import redis_client
from definitions.compiler.ruleset import compile_campaign
from definitions.model.campaign import Campaign
from gateway import body, tracking
from opportune.authoring import publishing
from opportune.dev import customers_bench, targets_bench
from opportune.dev.figures import Figure
from opportune.events import streams
from opportune.events.send import Endpoint
from opportune.local import valkey
from opportune.local.environments import Function
from opportune.local.stack import Stack
from opportune.replay.engine import Replay
from opportune.system.checkout import ROOT
from opportune.system.subprocesses import Subprocesses
from shared import mongodb
from shared.ruleset import Ruleset

USERS = 50_000
NOOP = "def handler(event, context):\n    return {'statusCode': 200, 'body': '{}'}\n"

THREE_WINS = {
    "id": "three-wins",
    "name": "Three wins",
    "targets": "everyone",
    "trigger": {
        "sequence": [{"event": "game_result", "where": {"outcome": "win"}, "times": 3, "consecutive": True}],
        "within": "10m",
    },
    "channel": "popup",
    "content": {"layout": "modal", "title": "Wow", "body": "Three in a row"},
}


class Line(msgspec.Struct, gc=False):
    """The fields of a line in the replayed file. Decoding only these is the floor of reading it."""

    type: str
    userId: str  # noqa: N815 - name in the messages
    event: str
    messageId: str  # noqa: N815 - name in the messages
    timestamp: str
    properties: dict[str, Any]


def run(console: Console, *, events: int, rounds: int, customers: int, targets: int) -> list[Figure]:
    """Measure everything, print a table to *console* and return the figures.

    events: that the replay reads
    rounds: repetitions of each request
    customers: that are imported
    targets: customers whose targets are refreshed
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: list[tuple[str, Callable[[], list[Figure]]]] = [
            ("replay", lambda: _replay(folder, events)),
            ("Gateway", lambda: _gateway(rounds)),
            ("state store", lambda: _state_store(folder, rounds)),
            ("whole path", lambda: _whole_path(folder, rounds)),
            ("customers", lambda: _customers(folder, customers)),
            ("targets", lambda: _targets(folder, targets)),
        ]
        for label, measure in parts:
            with console.status(f"measuring: {label}"):
                figures += measure()
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    for column in ("", "here", "floor", "", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.value:.3f} {figure.unit}",
            f"{figure.floor:.3f} {figure.unit}",
            figure.floor_name,
            f"{figure.ratio:.1f}",
        )
    console.print(table)
    return figures


def write(figures: list[Figure], path: Path) -> None:
    """Write *figures* to *path* as JSON."""
    rows = [{**figure._asdict(), "ratio": round(figure.ratio, 2)} for figure in figures]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"at": datetime.now(UTC).isoformat(), "figures": rows}, indent=2) + "\n", encoding="utf-8"
    )


def _replay(folder: Path, events: int) -> list[Figure]:
    path = folder / "events.ndjson"
    _write_events(path, events)
    campaign = compile_campaign(Campaign.model_validate(THREE_WINS))
    works: list[Callable[[], Any]] = [
        lambda: sum(1 for _ in Replay([campaign], ids=False).run(streams.read_events(path))),
        lambda: _decode_lines(path),
        lambda: _decode_blocks(path),
    ]
    # Run them in turn and keep the best time of each, so that other load on the machine does not count.
    rounds = [[_seconds(work) for work in works] for _ in range(3)]
    replay, lines, blocks = (min(times) for times in zip(*rounds, strict=True))
    name = f"replay of {events:,} events"
    return [
        Figure(name, replay, "decoding each line of the file", lines, "s"),
        Figure(name, replay, "decoding the file in blocks", blocks, "s"),
    ]


def _write_events(path: Path, events: int) -> None:
    rng = random.Random(1)
    users = min(USERS, max(1, events // 20))
    at = 1_790_000_000_000
    with path.open("wb") as file:
        for n in range(events):
            at += rng.randrange(60)
            stamp = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line = Line(
                type="track",
                userId=f"user-{rng.randrange(users)}",
                event="game_result",
                messageId=f"m-{n:08d}",
                timestamp=stamp,
                properties={"outcome": "win" if rng.random() < 0.45 else "loss", "stake": rng.randrange(100)},
            )
            file.write(msgspec.json.encode(line) + b"\n")


def _decode_lines(path: Path) -> int:
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as file:
        return sum(1 for _ in map(decoder.decode, file))


def _decode_blocks(path: Path) -> int:
    decoder, count, rest = msgspec.json.Decoder(Line), 0, b""
    with path.open("rb") as file:
        while chunk := file.read(streams.CHUNK):
            block, _, rest = (rest + chunk).rpartition(b"\n")
            count += len(decoder.decode_lines(block))
    return count


# A request of Segment's browser library.
BROWSER_CALL = {
    "timestamp": "2026-11-23T06:46:33.118Z",
    "sentAt": "2026-11-23T06:46:33.121Z",
    "type": "track",
    "event": "game_result",
    "messageId": "ajs-next-1795416664316-1f97a2b0-5d1c-4f43-9f0e-6b6c1a1f0c55",
    "anonymousId": "6300b2f4-17c6-4a3d-8f2e-0b2d6a1e9c11",
    "userId": None,
    "properties": {"outcome": "loss", "stake": 12.5, "table": "blue", "seats": [1, 2, 3]},
    "context": {
        "page": {"path": "/play", "referrer": "https://casino.example/", "search": "", "title": "Play", "url": "x"},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0",
        "library": {"name": "analytics.js", "version": "next-1.84.3"},
        "locale": "en-US",
        "timezone": "Europe/Vienna",
    },
    "integrations": {},
    "writeKey": "wk_demo_public",
}


def _gateway(rounds: int) -> list[Figure]:
    decode = msgspec.json.Decoder().decode
    call = msgspec.json.encode(BROWSER_CALL)
    batch = msgspec.json.encode({"batch": [BROWSER_CALL] * 100})
    envelope = tracking.Envelope(1_795_416_393_200)
    rounds *= 10
    floor, single = _in_turn(
        rounds, lambda: decode(call), lambda: tracking.parse_single(body.parse(call), "track", envelope)
    )
    batch_floor, many = _in_turn(
        rounds // 20, lambda: decode(batch), lambda: tracking.parse_batch(body.parse(batch), envelope)
    )
    return [
        Figure(f"reading a call of {len(call)} bytes (median)", single * 1000, "decoding it", floor * 1000, "µs"),
        Figure("reading a batch of 100 of them (median)", many * 1000, "decoding it", batch_floor * 1000, "µs"),
    ]


def _state_store(folder: Path, rounds: int) -> list[Figure]:
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses:
        client = redis_client(valkey.start(subprocesses), cluster=False)
        rows = UserStateStore(lambda: client)
        campaign = compile_campaign(Campaign.model_validate(THREE_WINS))
        plan = EventIndex(Ruleset(site="bench", version=1, keys=[], campaigns=[campaign]))
        ((_, bits, per, _),) = plan.lookup("game_result", {"outcome": "loss"})
        trigger = TriggerCall(
            campaign.trigger.key, everyone=True, bits=bits, per=per, program=campaign.trigger.program, ref=[], note="[]"
        )
        numbers = iter(range(10**9))

        def decide() -> None:
            n = next(numbers)
            rows.apply(
                ApplyEvent(
                    site="bench",
                    user=f"user-{n % 1000}",
                    message_id=str(n),
                    at=1_790_000_000_000 + n,
                    received=1_790_000_000_000 + n,
                    generation=1,
                    ruleset=1,
                    ttl=600_000,
                    ack_timeout=30_000,
                    grace=5_000,
                    triggers=[trigger],
                )
            )

        floor, script = _in_turn(rounds, lambda: client.hget("nothing", "nothing"), decide)
    return [Figure("one decided event (median)", script, "one Redis HGET", floor, "ms")]


def _whole_path(folder: Path, rounds: int) -> list[Figure]:
    (folder / "noop.py").write_text(NOOP, encoding="utf-8")
    key = "bench-secret-key"
    with Stack(state_dir=folder / "stack", keys={"OPPORTUNE_DEMO_SECRET_KEY": key}, wake_s=60) as stack:
        client = mongodb.database(stack.mongodb_url, "opportune")
        publishing.publish_folder(client, ROOT / "campaigns" / "demo", {"OPPORTUNE_DEMO_SECRET_KEY": key})
        publishing.refresh_targets(client, "demo")
        noop = Function("noop.handler", timeout_s=5, env={"PYTHONPATH": str(folder)})
        with Stack(state_dir=folder / "empty", functions={"gateway": noop}) as empty:
            ours, bare = Endpoint(stack.http_url, key), Endpoint(empty.http_url, "x")

            def track(event: str) -> Callable[[], Any]:
                return lambda: ours.post(
                    "/v1/track", {"userId": "a", "event": event, "properties": {"outcome": "loss"}}
                )

            floor, irrelevant = _in_turn(rounds, lambda: bare.post("/v1/track", {}), track("page_scrolled"))
            _, relevant = _in_turn(rounds, lambda: bare.post("/v1/track", {}), track("game_result"))
        client.client.close()
    return [
        Figure("HTTP, an irrelevant event (median)", irrelevant, "HTTP, empty function", floor, "ms"),
        Figure("HTTP, a decided event (median)", relevant, "HTTP, empty function", floor, "ms"),
    ]


def _customers(folder: Path, rows: int) -> list[Figure]:
    with Subprocesses(folder / "import", folder / "import-logs", os.environ) as subprocesses:
        return customers_bench.measure(subprocesses, folder, rows)


def _targets(folder: Path, customers: int) -> list[Figure]:
    with Subprocesses(folder / "targets", folder / "targets-logs", os.environ) as subprocesses:
        return targets_bench.measure(subprocesses, customers)


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _in_turn(rounds: int, floor: Callable[[], Any], work: Callable[[], Any]) -> tuple[float, float]:
    """Return the medians of *floor* and *work* in ms, measured in turn after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for n in range(rounds + rounds // 10):
        for each, spent in zip((floor, work), times, strict=True):
            started = time.perf_counter()
            each()
            if n >= rounds // 10:
                spent.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[0]), statistics.median(times[1])
