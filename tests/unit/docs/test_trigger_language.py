"""docs/trigger-language.md says what is so: every example of it runs, and every name in the code is in it.

Each line of a ``timeline`` is one customer. All lines run through `machine.lua` as Redis has it and through
the brute-force oracle; those without late events also through a replay, which takes events in order only.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from decider import scripts
from decider.event_index import EventIndex
from decider.policy import FRESH_MS
from decider.timers import GRACE_MS
from definitions.compiler.ruleset import compile_campaign
from definitions.compiler.trigger import compile_trigger
from definitions.loading.problems import InvalidFiles
from definitions.loading.yaml_source import Source
from definitions.model.campaign import Campaign
from definitions.model.field_errors import validate
from definitions.model.trigger import MAX_MATCHERS, Matcher, Step, Trigger, Unless
from opportune.events import streams
from opportune.replay.engine import Replay
from shared.conditions.operands import OPERATORS
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate
from shared.ruleset import Campaign as Compiled
from shared.ruleset import Ruleset
from tests.support import oracle
from tests.support.definitions import load_definitions
from tests.support.machine import Machine
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "trigger-language.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
START = 1_790_000_000_000
DAY = 86_400_000
FAR = 400 * DAY  # after the last event, so that what is pending falls due

_TIME = r"(\d+d|\d+:\d\d(?::\d\d)?)"
_EVENT = re.compile(rf"{_TIME} (\S+)((?: [\w.]+=\S+)*)(?: #(\w+))?(?: \(of {_TIME}\))?( ✔)?")
_SILENCE = re.compile(rf"⏰ {_TIME}")


@dataclass
class Customer:
    """One line: its events, and what it says must fire: ``("match", ms)`` or ``("absence", ms)``."""

    line: str
    events: list[oracle.Seen] = field(default_factory=list)
    marked: Counter[tuple[int, str]] = field(default_factory=Counter)
    completing: set[str] = field(default_factory=set)

    @property
    def until(self) -> int:
        """Return the ms at which the line is over."""
        return max(event.received for event in self.events) + FAR


class Example(NamedTuple):
    """A block of YAML and what follows it: ``timeline``, ``refused``, or ``None`` for a whole campaign."""

    heading: str
    yaml: str
    kind: str | None
    result: str


def ms(text: str) -> int:
    """Return ``2d``, ``5:00`` or ``1:05:00`` as a time in ms."""
    if text.endswith("d"):
        return START + int(text[:-1]) * DAY
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return START + 1000 * seconds


def read(text: str) -> Any:
    """Return YAML as the command line reads it."""
    return Source("example", text).data


def examples() -> Iterator[Example]:
    """Yield the document's examples in order."""
    heading, blocks = "", []
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[2] in ("yaml", "timeline", "refused"):
            blocks.append((heading, match[2], match[3]))
    for (heading, kind, body), (_, next_kind, result) in pairwise([*blocks, ("", "", "")]):
        if kind == "yaml":
            followed = next_kind in ("timeline", "refused")
            yield Example(heading, body, next_kind if followed else None, result if followed else "")
    assert all(before == "yaml" for (_, before, _), (_, kind, _) in pairwise(blocks) if kind != "yaml")


def customers(timeline: str) -> Iterator[Customer]:
    """Read a timeline, by the rules at the top of the document."""
    for line in timeline.splitlines():
        story = line.split(" · ")[0].strip()
        if not story or story.startswith("└"):
            continue
        customer, clock = Customer(line), 0
        for part in (part.strip() for part in re.split("─+", story)):
            if silence := _SILENCE.fullmatch(part):
                customer.marked[ms(silence[1]), "absence"] += 1
                continue
            event = _EVENT.fullmatch(part)
            assert event, f"cannot read {part!r} in {line!r}"
            happened, name = ms(event[5] or event[1]), event[4] or f"{len(customer.events)}"
            seen = oracle.Seen(event[2], attributes(event[3]), happened, ms(event[1]), name)
            customer.events.append(seen)
            clock = max(clock, happened)
            if event[6]:
                customer.marked[clock, "match"] += 1
                customer.completing.add(name)
        yield customer


def attributes(text: str) -> dict[str, Any]:
    """Return ``a=1 cart.total=5`` as attributes."""
    result: dict[str, Any] = {}
    for name, value in (pair.split("=", 1) for pair in text.split()):
        *path, last = name.split(".")
        inner = result
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = read(f"[{value}]")[0]
    return result


def campaign_of(trigger: dict[str, Any]) -> Compiled:
    """Return a compiled campaign for everyone with *trigger*."""
    return compile_campaign(validate(Campaign, whole(trigger)))


def whole(trigger: dict[str, Any]) -> dict[str, Any]:
    """Return a campaign as it is written, with *trigger*."""
    content = {"subject": "Hello", "text": "Hello"}
    return {
        "id": "example", "name": "Example", "targets": "everyone", "trigger": trigger, "channel": "email",
        "content": content,
    }  # fmt: skip


def plain(value: Any, tests: list[dict[str, Any]]) -> Any:
    """Return a trigger without operators, which the oracle does not know: condition n becomes ``test-n: true``."""
    if isinstance(value, list):
        return [plain(each, tests) for each in value]
    if not isinstance(value, dict):
        return value
    result = {name: plain(each, tests) for name, each in value.items() if name != "where"}
    if "where" in value:
        tests.append(value["where"])
        result["where"] = {f"test-{len(tests)}": True}
    return result


def by_the_oracle(trigger: dict[str, Any], customer: Customer) -> list[oracle.Fire]:
    """Return the fires by the definition."""
    tests: list[dict[str, Any]] = []
    bare = plain(trigger, tests)
    checks = [compile_predicate(parse_condition(test)) for test in tests]
    events = [
        oracle.Seen(
            event.event,
            {**event.attributes, **{f"test-{n}": check(event.attributes) for n, check in enumerate(checks, start=1)}},
            event.at,
            event.received,
            event.message_id,
        )
        for event in customer.events
    ]
    return oracle.fires(bare, events, until=customer.until)


def replayed(trigger: dict[str, Any], told: list[Customer], folder: Path) -> list[list[tuple[int, str, str]]]:
    """Return for each customer (ms, reason, id of the completing event) of the fires of a replay."""
    recorded = folder / "events.ndjson"
    recorded.write_text(
        "".join(
            json.dumps(
                {
                    "userId": str(n), "event": event.event, "messageId": event.message_id,
                    "timestamp": event.at, "properties": dict(event.attributes),
                    **({"receivedAt": event.received} if event.received != event.at else {}),
                }
            )
            + "\n"
            for n, customer in enumerate(told, start=1)
            for event in customer.events
        ),
        encoding="utf-8",
    )  # fmt: skip
    replay = Replay([campaign_of(trigger)])
    fires = [*replay.run(streams.read_events(recorded)), *replay.finish(max(each.until for each in told))]
    found: list[list[tuple[int, str, str]]] = [[] for _ in told]
    for fire in fires:
        found[int(fire.user) - 1].append((fire.at, fire.reason, fire.message_ids[-1]))
    return found


EXAMPLES = list(examples())
TIMELINES = [example for example in EXAMPLES if example.kind == "timeline"]
REFUSALS = [example for example in EXAMPLES if example.kind == "refused"]


@pytest.mark.parametrize("example", TIMELINES, ids=lambda example: example.heading)
def test_timelines_come_out_as_marked(example: Example, tmp_path: Path) -> None:
    """What is marked fires, and nothing else: in a replay, in the machine and by the definition."""
    trigger = read(example.yaml)["trigger"]
    told = list(customers(example.result))
    assert any(customer.marked for customer in told), "shows nothing that fires"
    assert not all(customer.marked for customer in told), "shows nothing that does not fire"
    machine = Machine()
    for customer in told:
        fires = by_the_oracle(trigger, customer)
        assert Counter((fire.at, fire.reason) for fire in fires) == customer.marked, customer.line
        assert {fire.last for fire in fires if fire.reason == "match"} == customer.completing, customer.line
        live = machine.fires(trigger, customer.events, customer.until, store=True)
        assert Counter((at, reason) for at, reason, _ in live) == customer.marked, customer.line
    for customer, found in zip(told, replayed(trigger, told, tmp_path), strict=True):
        assert Counter((at, reason) for at, reason, _ in found) == customer.marked, customer.line


@pytest.mark.parametrize("example", REFUSALS, ids=lambda example: example.result.split(":")[0])
def test_refusals_are_what_check_says(example: Example, tmp_path: Path) -> None:
    """Field and message, with line breaks anywhere."""
    path = tmp_path / "campaign.yaml"
    written = read(example.yaml)
    path.write_text(json.dumps(whole(written["trigger"]) | written), encoding="utf-8")
    with pytest.raises(InvalidFiles) as caught:
        load_definitions(path)
    (problem,) = caught.value.problems
    assert " ".join(example.result.split()) == f"{problem.field}: {problem.message}"


def test_whole_campaigns_are_sound() -> None:
    """What is no example of a trigger is a campaign that passes the check."""
    (campaign,) = (read(example.yaml) for example in EXAMPLES if example.kind is None)
    validate(Campaign, campaign)


def test_conditions_hold_as_the_table_says() -> None:
    """Every operator is in it, with its sentence, and values for which it holds and does not."""
    explained = set()
    for row in re.findall(r"^\| (`a: .*) \| (.*) \| (.*) \| (.*) \|$", TEXT, flags=re.MULTILINE):
        written = [read(code) for code in re.findall("`(.+?)`", row[0])]
        named = [operator for condition in written if isinstance(condition["a"], dict) for operator in condition["a"]]
        assert [OPERATORS[operator].meaning for operator in named] == [row[1]]
        explained.update(named)
        for condition in written:
            holds = compile_predicate(parse_condition(condition, dates=False))
            for cell, expected in ((row[2], True), (row[3], False)):
                values = [{"a": read(f"[{code}]")[0]} for code in re.findall("`(.+?)`", cell)]
                values += [{}] if "missing" in cell else []
                assert values
                for value in values:
                    assert holds(value) is expected, (condition, value)
    assert explained == set(OPERATORS)


@pytest.mark.parametrize("model", [Trigger, Step, Unless], ids=lambda model: model.__name__)
def test_every_field_is_in_a_table_and_in_an_example(model: type[Matcher]) -> None:
    """The tables have the sentences that editors show."""
    for name, info in model.model_fields.items():
        written = info.alias or name
        assert f"| `{written}` | {info.description} |" in TEXT
        assert any(re.search(rf"\b{written}:", example.yaml) for example in TIMELINES), written


def test_every_choice_is_in_an_example() -> None:
    """Those of `after_match` and `anchor`."""
    shown = [read(example.yaml)["trigger"] for example in TIMELINES]
    assert {trigger.get("after_match") for trigger in shown} == {None, "restart", "overlap", "every", "once"}
    assert {trigger["unless"].get("anchor") for trigger in shown if "unless" in trigger} == {None, "last"}


def test_numbers_are_those_of_the_code() -> None:
    """Limits that stand in a sentence."""
    text = scripts.module("machine") + scripts.module("messages")
    lua = {name: int(number) for name, number in re.findall(r"^  ([A-Z]+) = (\d+),", text, flags=re.MULTILINE)}
    two_days = EventIndex(Ruleset(site="s", version=1, keys=[], campaigns=[])).ttl_ms
    assert two_days == 2 * DAY
    for sentence in (
        f"the last {lua['KEPT']} message ids of a customer",
        f"the last {lua['MAX']:,} for {lua['AGE'] // 60} minutes",
        f"up to {lua['RESULTS'] // 1024} KB",
        f"at most {lua['RUNS']} runs of a trigger",
        f"at least {GRACE_MS // 1000} seconds after the deadline",
        f"came in within {FRESH_MS // 1000} seconds",
        f"at most {MAX_MATCHERS} different pairs",
        "up to `90d`",
    ):
        assert sentence in TEXT


def test_the_oldest_run_goes_first(tmp_path: Path) -> None:
    """Of 21 runs the one whose last event is the longest ago, not the one that began first."""
    trigger = {"sequence": [{"event": "view", "times": 3}], "within": "1d", "per": "p"}
    order = ["first", "second", *(f"p{n}" for n in range(18)), "first", "one-more", "first", "second", "second"]
    views = [oracle.Seen("view", {"p": p}, START + n, START + n, str(n)) for n, p in enumerate(order)]
    (found,) = replayed(trigger, [Customer("", views)], tmp_path)
    assert [last for _, _, last in found] == [str(len(order) - 3)]


def test_only_the_last_message_ids_are_remembered(tmp_path: Path) -> None:
    """127 events later an id is still known, at any pace. After 136 it is known for 15 minutes, and no longer."""
    trigger = {"sequence": [{"event": "a"}]}
    for between, pace, fires in ((127, DAY, 128), (136, DAY, 138), (136, 1, 137), (3000, 1, 3001)):
        ids = ["x", *(f"n{n}" for n in range(between)), "x"]
        times = [START - (len(ids) - n) * pace for n in range(len(ids))]
        seen = [oracle.Seen("a", {}, at, at, name) for at, name in zip(times, ids, strict=True)]
        (found,) = replayed(trigger, [Customer("", seen)], tmp_path)
        assert len(found) == fires


def test_what_an_edit_of_a_trigger_keeps() -> None:
    """Progress belongs to the key of the trigger: a change of its meaning makes a new one."""
    trigger: dict[str, Any] = {"sequence": [{"event": ["a", "b"], "times": 2}], "within": "2d"}

    def key(changed: dict[str, Any], campaign: str = "example") -> str:
        return compile_trigger(Trigger.model_validate(changed), campaign=campaign).key

    assert key(trigger | {"within": "48h"}) == key(trigger)
    assert key(trigger | {"sequence": [{"event": ["b", "a"], "times": 2}]}) == key(trigger)
    changes: list[dict[str, Any]] = [
        {"within": "3d"}, {"per": "c"}, {"after_match": "every"}, {"max_backdate": "6m"},
        {"reset_on": [{"event": "c"}]}, {"unless": {"event": "c", "for": "1m"}},
    ]  # fmt: skip
    assert len({key(trigger), key(trigger, "other"), *(key(trigger | change) for change in changes)}) == 8
    content = {"subject": "Other", "text": "Other"}
    edited = compile_campaign(validate(Campaign, whole(trigger) | {"content": content}))
    assert edited.trigger.key == campaign_of(trigger).trigger.key
