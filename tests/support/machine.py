"""Run machine.lua in this process, for a trigger as it is written in a campaign file."""

from typing import Any

import msgspec
from lupa.lua51 import LuaRuntime

from decider import scripts
from decider.event_index import EventIndex
from definitions.compiler.trigger import compile_trigger
from definitions.model.trigger import Trigger
from shared.ruleset import Campaign, Ruleset
from tests.support import oracle

Fired = tuple[int, str, str]


def fires_of_oracle(trigger: dict[str, Any], events: list[oracle.Seen], until: int) -> list[Fired]:
    """Return the firings by the definition, in a form that can be compared."""
    fires = oracle.fires(trigger, events, until=until)
    return sorted((fire.at, fire.reason, _name(fire.per)) for fire in fires)


def _name(per: oracle.PerValues | None) -> str:
    return "" if per is None else msgspec.json.encode(list(per)).decode()


class Machine:
    """The machine as Redis has it: Lua 5.1."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(unpack_returned_tuples=True)
        self._machine = self._lua.execute(scripts.module("machine"))
        self._cancellations = self._lua.execute(scripts.module("cancellations"))

    def fires(
        self, trigger: dict[str, Any], events: list[oracle.Seen], until: int, *, store: bool = False
    ) -> list[Fired]:
        """Return the firings; with *store*, freeze and thaw the state before every event."""
        fired, states, program = self._run(trigger, events, store=store)
        for per, state in states.items():
            fire = self._machine.expire(program, state, until)
            if fire:
                fired.append((int(fire.at), fire.reason, per))
        return sorted(fired)

    def largest_state(self, trigger: dict[str, Any], events: list[oracle.Seen]) -> int:
        """Return the length of the longest stored state over all steps."""
        longest = 0
        for n in range(1, len(events) + 1):
            _, states, program = self._run(trigger, events[:n], store=False)
            for state in states.values():
                flat = self._machine.freeze(program, state)
                longest = max(longest, len(flat) if flat is not None else 0)
        return longest

    def bound(self, trigger: dict[str, Any]) -> int:
        """Return the maximum length of a stored state of *trigger*: eight numbers, and five per unit."""
        steps = trigger.get("sequence") or trigger["all_of"]
        units: int = sum(step.get("times", 1) for step in steps)
        return 8 + 5 * units

    def _run(
        self, trigger: dict[str, Any], events: list[oracle.Seen], *, store: bool
    ) -> tuple[list[Fired], dict[str, Any], Any]:
        compiled = compile_trigger(Trigger.model_validate(trigger))
        campaign = Campaign(id="c", version="", name="", trigger=compiled, channel="popup", content={})
        plan = EventIndex(Ruleset(site="s", version=1, keys=[], campaigns=[campaign]))
        program = self._lua.table_from(compiled.program, recursive=True)
        machine, fired = self._machine, []
        states: dict[str, Any] = {}
        seen: set[str] = set()
        called_off = self._lua.table()
        time = 0
        for event in events:
            if event.message_id in seen:
                continue
            seen.add(event.message_id)
            concerns = plan.lookup(event.event, event.attributes)
            time = max(time, event.at)
            if not concerns:
                continue
            _, bits, name, _ = concerns[0]
            state = states.get(name)
            if state is not None and store:
                flat = machine.freeze(program, state)
                state = None if flat is None else machine.thaw(program, flat)
            if state is None:
                state = self._lua.table()
            late = event.received - event.at > compiled.program["backdate"]
            ended = self._cancellations.last(called_off, "c", name)
            if machine.calls_off(program, bits):
                self._cancellations.note(called_off, "c", name, event.at, compiled.program["backdate"])
            self._cancellations.tidy(called_off, event.received)
            link = None if store else event.message_id
            fire = machine.advance(program, state, bits, time, event.at, late, link, None, ended)
            if fire:
                fired.append((int(fire.at), fire.reason, name))
            states[name] = state
        return fired, states, program
