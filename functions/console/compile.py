"""Compile what people write into what the functions read: definitions to a ruleset.

A *role* is a set of matchers that means one thing to a trigger (a step, a guard, the subject stream …);
each distinct role gets one bit, so that an event is described to ``machine.lua`` by one number.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from console import content
from console.definitions import Campaign, Definitions, Matcher, Step, Trigger
from shared import ruleset as compiled
from shared.contracts import WriteKey

# How long a user who was never seen again is known to have had what comes but once.
ONCE_HORIZON_MS = 400 * 86_400_000


class _Roles:
    """Hands out one bit per distinct set of matchers, and collects the matchers with their bits."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._matchers: dict[str, compiled.Matcher] = {}

    def bit(self, matchers: Iterable[Matcher]) -> int:
        """Return the weight of the role "any of *matchers*"."""
        parts = {
            _canonical([sorted(matcher.event), matcher.where]): compiled.Matcher(
                events=sorted(matcher.event), where=dict(matcher.where), bits=0
            )
            for matcher in matchers
        }
        role = _canonical(sorted(parts))
        if role not in self._bits:
            self._bits[role] = 2 ** len(self._bits)
            for name, matcher in parts.items():
                self._matchers.setdefault(name, matcher).bits |= self._bits[role]
        return self._bits[role]

    def matchers(self) -> list[compiled.Matcher]:
        """Return every matcher once, with the sum of the weights of the roles it plays."""
        return list(self._matchers.values())


def compile_trigger(trigger: Trigger, *, campaign: str = "") -> compiled.Trigger:
    """Return the program of *trigger*; its key depends on the pattern and the campaign's id alone."""
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
        key=_digest(identity, 6),
        program=program,
        matchers=matchers,
        horizon=_horizon(trigger),
        per=list(trigger.per),
    )


def _horizon(trigger: Trigger) -> int:
    windows = (trigger.within or 0) + (trigger.unless.for_ if trigger.unless else 0)
    return max(windows, ONCE_HORIZON_MS) if trigger.after_match == "once" else windows


def subject_events(trigger: Trigger) -> set[str]:
    """Return the event names of the stream that ``consecutive`` and ``directly`` are about."""
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


def compile_campaign(campaign: Campaign) -> compiled.Campaign:
    """Return *campaign* as the functions read it; its version changes with anything in it."""
    everyone = campaign.targets == "everyone"
    result = compiled.Campaign(
        id=campaign.id,
        version="",
        name=campaign.name,
        trigger=compile_trigger(campaign.trigger, campaign=campaign.id),
        channel=campaign.channel,
        content=campaign.content.model_dump(mode="json", exclude_none=True),
        everyone=everyone,
        groups=[] if everyone else list(campaign.targets),
        reads=sorted(content.reads(campaign.content)),
    )
    result.version = _digest(msgspec.to_builtins(result), 6)
    return result


def compile_ruleset(definitions: Definitions, *, version: int, keys: list[WriteKey]) -> compiled.Ruleset:
    """Return the ruleset of all campaigns, sorted by id. *keys*: the site's write keys, already hashed."""
    sender = definitions.site.sender
    return compiled.Ruleset(
        site=definitions.site.id,
        version=version,
        keys=keys,
        campaigns=sorted((compile_campaign(c) for c in definitions.campaigns), key=lambda c: c.id),
        sender=compiled.Sender(address=sender.address, name=sender.name or "") if sender else None,
    )


def _canonical(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _digest(value: Any, size: int) -> str:
    raw = hashlib.blake2b(_canonical(value).encode(), digest_size=size).digest()
    return base64.urlsafe_b64encode(raw).decode()
