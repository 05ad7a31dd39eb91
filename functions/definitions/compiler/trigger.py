"""Compile a trigger: steps and matchers become the program that ``machine.lua`` runs.

A *role* is a set of matchers with one meaning for a trigger, such as a step, a guard or the subject stream.
Each distinct role gets a bit, so a single number tells ``machine.lua`` which roles an event plays.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from definitions.model.trigger import Matcher, Step, Trigger
from shared import ruleset as compiled

# How long the state store remembers that an absent user has had a campaign with ``after_match: once``.
ONCE_HORIZON_MS = 400 * 86_400_000


class _Roles:
    """Gives each distinct set of matchers a bit, and collects the matchers with their bits."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._matchers: dict[str, compiled.Matcher] = {}

    def bit(self, matchers: Iterable[Matcher]) -> int:
        """Return the bit of the role "any of *matchers*"."""
        parts = {
            canonical([sorted(matcher.event), matcher.where]): compiled.Matcher(
                events=sorted(matcher.event), where=dict(matcher.where), bits=0
            )
            for matcher in matchers
        }
        role = canonical(sorted(parts))
        if role not in self._bits:
            self._bits[role] = 2 ** len(self._bits)
            for name, matcher in parts.items():
                self._matchers.setdefault(name, matcher).bits |= self._bits[role]
        return self._bits[role]

    def matchers(self) -> list[compiled.Matcher]:
        """Return each matcher once, with the bits of all its roles."""
        return list(self._matchers.values())


def compile_trigger(trigger: Trigger, *, campaign: str = "") -> compiled.Trigger:
    """Return *trigger* as a program. Its key is a hash of the pattern and the campaign's id, and of nothing else."""
    roles = _Roles()
    program: dict[str, Any] = {"after": trigger.after_match, "backdate": trigger.max_backdate}
    if trigger.sequence is not None:
        program["steps"] = [_step(step, roles) for step in trigger.sequence]
        program["units"] = sum(step.times for step in trigger.sequence)
        if any(step.gap is not None for step in trigger.sequence):
            program["gaps"] = True
        if any(step.inner is not None for step in trigger.sequence):
            program["inners"] = True
        if any(step.consecutive or step.directly for step in trigger.sequence):
            program["subject"] = roles.bit([Matcher(event=tuple(sorted(subject_events(trigger))))])
    else:
        program["members"] = [roles.bit([matcher]) for matcher in trigger.all_of or ()]
    if trigger.within is not None:
        program["within"] = trigger.within
    if trigger.reset_on:
        program["reset"] = roles.bit(trigger.reset_on)
    if trigger.unless is not None:
        program["absent"] = {"bit": roles.bit([trigger.unless]), "wait": trigger.unless.for_}
        if trigger.unless.anchor == "last":
            program["absent"]["last"] = True
    if trigger.after_match == "overlap":
        program["tracked"] = True
    matchers = roles.matchers()
    identity = [campaign, program, [msgspec.to_builtins(matcher) for matcher in matchers], list(trigger.per)]
    return compiled.Trigger(
        key=digest(identity, 6),
        program=program,
        matchers=matchers,
        horizon=_horizon(trigger),
        per=list(trigger.per),
    )


def _horizon(trigger: Trigger) -> int:
    windows = (trigger.within or 0) + (trigger.unless.for_ if trigger.unless else 0)
    return max(windows, ONCE_HORIZON_MS) if trigger.after_match == "once" else windows


def subject_events(trigger: Trigger) -> set[str]:
    """Return the event names of the stream that ``consecutive`` and ``directly`` look at."""
    if trigger.subject is not None:
        return set(trigger.subject)
    steps = trigger.sequence or ()
    names: set[str] = set()
    for before, step in zip((None, *steps), steps, strict=False):
        if step.consecutive or step.directly:
            names.update(step.event)
        if step.directly and before is not None:
            names.update(before.event)
    return names


def _step(step: Step, roles: _Roles) -> dict[str, Any]:
    program: dict[str, Any] = {"bit": roles.bit([step]), "times": step.times}
    for name in ("consecutive", "directly"):
        if getattr(step, name):
            program[name] = True
    for name in ("gap", "inner"):
        if getattr(step, name) is not None:
            program[name] = getattr(step, name)
    if step.not_before:
        program["guard"] = roles.bit(step.not_before)
    return program


def canonical(value: Any) -> str:
    """Return *value* as JSON; equal values give equal text."""
    return msgspec.json.encode(value, order="deterministic").decode()


def digest(value: Any, size: int) -> str:
    """Return a hash of *value*, *size* bytes long, as text that is safe in keys and URLs."""
    raw = hashlib.blake2b(canonical(value).encode(), digest_size=size).digest()
    return base64.urlsafe_b64encode(raw).decode()
