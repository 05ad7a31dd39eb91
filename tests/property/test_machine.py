"""machine.lua against the brute-force oracle on random patterns and streams, and changes that must not matter."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import oracle, strategies
from tests.support.machine import Machine, fires_of_oracle

PAIRS = 24_000
SHARES = 8  # of the pairs, so that workers can divide them
SEED = 20_261_030
FAR = 10**9  # ms after the last event: every pending absence falls due


@pytest.fixture(name="machine", scope="module")
def _machine() -> Machine:
    return Machine()


def pairs(count: int, seed: int, features: Any = strategies.ALL) -> Iterator[tuple[dict[str, Any], list[oracle.Seen]]]:
    """Yield *count* random pairs of a trigger and a stream."""
    rng = random.Random(seed)
    for _ in range(count):
        yield strategies.random_pair(rng, features=features)


@pytest.mark.parametrize("share", range(SHARES))
def test_every_construct_alone_and_combined_matches_the_definition(
    machine: Machine, share: int, request: pytest.FixtureRequest
) -> None:
    """The machine fires exactly where the definition does; more pairs with --pairs."""
    count = -(-(request.config.getoption("--pairs", default=None) or PAIRS) // SHARES)
    fired = 0
    for n, (trigger, events) in enumerate(pairs(count, SEED + 100 * share)):
        until = events[-1].at + FAR if events else FAR
        expected = fires_of_oracle(trigger, events, until)
        fired += bool(expected)
        assert machine.fires(trigger, events, until, store=n % 2 == 0) == expected, (trigger, events)
    assert fired > count * 0.3


@pytest.mark.parametrize(
    "features",
    [
        {"times", "consecutive", "within", "where"},
        {"directly", "within", "subject", "where"},
        {"gap", "inner", "times", "within"},
        {"not_before", "within", "lists"},
        {"all_of", "within", "reset_on"},
        {"unless", "anchor", "within", "reset_on"},
        {"per", "within", "unless"},
        {"after_match", "within", "times"},
        {"max_backdate", "out_of_order", "duplicates", "within", "unless"},
    ],
    ids=lambda features: "+".join(sorted(features)),
)
def test_small_feature_sets_match_the_definition(machine: Machine, features: set[str]) -> None:
    """A few constructs at a time interact far more often than in the full mix."""
    for trigger, events in pairs(1_000, SEED + 1, features):
        until = events[-1].at + FAR if events else FAR
        assert machine.fires(trigger, events, until) == fires_of_oracle(trigger, events, until), (
            trigger,
            events,
        )


def test_shifting_all_times_shifts_all_fires(machine: Machine) -> None:
    """The origin of the clock does not matter."""
    for trigger, events in pairs(500, SEED + 2):
        shifted = [
            oracle.Seen(e.event, e.attributes, e.at + 777_000, e.received + 777_000, e.message_id) for e in events
        ]
        expected = [(at + 777_000, reason, per) for at, reason, per in machine.fires(trigger, events, FAR)]
        assert machine.fires(trigger, shifted, FAR + 777_000) == expected


def test_repeated_and_irrelevant_events_change_nothing(machine: Machine) -> None:
    """Every message twice, with unrelated events in between: the same firings."""
    for trigger, events in pairs(500, SEED + 3):
        noisy: list[oracle.Seen] = []
        for n, event in enumerate(events):
            noisy += [event, event, oracle.Seen("nobody asks", {}, 0, event.received, f"noise-{n}")]
        assert machine.fires(trigger, noisy, FAR) == machine.fires(trigger, events, FAR)


def test_a_wider_window_never_delays_the_first_fire(machine: Machine) -> None:
    """A wider window can only help a pattern without an absence."""
    for trigger, events in pairs(800, SEED + 4, {"times", "consecutive", "within", "where", "not_before"}):
        if "within" not in trigger:
            continue
        wider = {**trigger, "within": f"{oracle.milliseconds(trigger['within']) // 1000 + 1}s"}
        narrow_fires, wide_fires = machine.fires(trigger, events, FAR), machine.fires(wider, events, FAR)
        if narrow_fires:
            assert wide_fires
            assert wide_fires[0] <= narrow_fires[0]


def test_every_fires_wherever_restart_does(machine: Machine) -> None:
    """`every` fires at all ends of matches, `restart` at some of them. The first is the same."""
    for trigger, events in pairs(800, SEED + 5, {"times", "consecutive", "within", "where", "gap"}):
        restart = machine.fires({**trigger, "after_match": "restart"}, events, FAR)
        every = machine.fires({**trigger, "after_match": "every"}, events, FAR)
        assert set(restart) <= set(every)
        assert restart[:1] == every[:1]


def test_state_is_bounded_after_every_step(machine: Machine) -> None:
    """At most one entry per unit step, for any number of events."""
    for trigger, events in pairs(1_000, SEED + 6):
        assert machine.largest_state(trigger, events) <= machine.bound(trigger)
