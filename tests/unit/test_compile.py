"""Compiling triggers: what their keys, bits and horizons depend on."""

from typing import Any

from tests.builders import THREE_WINS, compiled

DAY_MS = 86_400_000


def key(trigger: dict[str, Any], **options: Any) -> str:
    """Return the key of a compiled trigger."""
    return compiled(trigger, **options).trigger.key


def test_the_key_changes_with_the_pattern_alone() -> None:
    """Another window is another trigger; another channel or audience is not."""
    assert key(THREE_WINS) == key(THREE_WINS, everyone=False) == key(THREE_WINS, channel="email")
    assert key(THREE_WINS) != key({**THREE_WINS, "within": "9m"})
    assert key(THREE_WINS) != key(THREE_WINS, name="another-campaign")


def test_the_version_changes_with_anything() -> None:
    """What identifies an activation is the whole campaign."""
    assert compiled(THREE_WINS).version != compiled(THREE_WINS, everyone=False).version
    assert compiled(THREE_WINS).version == compiled(THREE_WINS).version


def test_equal_matchers_share_a_bit_and_different_roles_do_not() -> None:
    """Twice the same step is one bit; a guard on another event is another."""
    step = {"event": "view"}
    trigger = compiled({"sequence": [step, step, {"event": "buy", "not_before": [{"event": "back"}]}], "within": "1h"})
    bits = [part["bit"] for part in trigger.trigger.program["steps"]]
    assert bits[0] == bits[1] != bits[2]
    assert trigger.trigger.program["steps"][2]["guard"] not in bits
    assert len(trigger.trigger.matchers) == 3


def test_the_subject_is_the_events_that_strictness_is_about() -> None:
    """By default those of the steps that use it and, for `directly`, of the step before."""
    steps = [
        {"event": "a"},
        {"event": "b", "directly": True},
        {"event": "c"},
        {"event": "d", "times": 2, "consecutive": True},
    ]
    trigger = compiled({"sequence": steps, "within": "1h"}).trigger
    subject = trigger.program["subject"]
    assert {name for matcher in trigger.matchers if matcher.bits & subject for name in matcher.events} == {
        "a",
        "b",
        "d",
    }


def test_progress_is_kept_as_long_as_it_can_matter() -> None:
    """Window and wait together; what comes but once is remembered for 400 days."""
    unless = {"event": "buy", "for": "2h"}
    silence = {"sequence": [{"event": "a"}, {"event": "b"}], "within": "1h", "unless": unless}
    assert compiled(silence, channel="email").trigger.horizon == 3 * 3_600_000
    assert compiled({"sequence": [{"event": "a"}]}).trigger.horizon == 0
    assert compiled({"sequence": [{"event": "a"}], "after_match": "once"}).trigger.horizon == 400 * DAY_MS
