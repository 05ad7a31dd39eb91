"""What the gates would have stopped, had the recorded events come in live; by the times of the events.

The very ``gates.lua`` that runs live counts the caps. What needs a customer (his zone, consent, opt-out) or the
world (pauses, rate limits) cannot be known here, and stops nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from lupa.luajit21 import LuaRuntime

from decider import scripts
from decider.policy import blocking_gate, policy
from opportune.replay.engine import Fire
from opportune.replay.explain.model import Explained, Match
from shared.ruleset import Campaign, Quota

LONGEST_MS = 400 * 86_400_000


class Live(NamedTuple):
    """A campaign as it would be live: of the site with the id ``site`` and its ``caps``."""

    campaign: Campaign
    site: str
    caps: Mapping[str, Quota]


class Gates:
    """The gates of *campaigns*, and what has passed them so far; feed it fires in the order of time."""

    def __init__(self, campaigns: Sequence[Live]) -> None:
        self._lua = LuaRuntime(unpack_returned_tuples=True)
        self._gates = self._lua.execute(scripts.module("gates"))
        self._live = {live.campaign.id: live for live in campaigns}
        policies = {live.campaign.id: policy(live.campaign, dict(live.caps)) for live in campaigns}
        self._priority = {name: each.priority for name, each in policies.items()}
        self._limits = {name: self._lua.table_from(each.limits, recursive=True) for name, each in policies.items()}
        self._has_limits = {name for name, each in policies.items() if each.limits}
        self._counted: dict[str, Any] = {}

    def judge(self, fires: Iterable[Fire]) -> Iterator[tuple[Fire, str | None]]:
        """Yield *fires* with the name of the gate that would have stopped each; ``None``: it would have passed."""
        for _, together in groupby(fires, key=lambda fire: (fire.user, fire.at, fire.message_ids[-1:])):
            ordered = sorted(together, key=lambda fire: (-self._priority[fire.campaign], fire.campaign))
            is_shown = False
            for fire in ordered:
                campaign, site, _ = self._live[fire.campaign]
                is_popup = campaign.channel == "popup"
                closed_by = blocking_gate(campaign, site, fire.user, fire.at, None)
                is_held_out = closed_by == "holdout"
                gate = (None if is_held_out else closed_by) or self._stops(fire)
                if gate is None and is_popup and is_shown:
                    gate = "priority"
                if gate is None:
                    gate = "holdout" if is_held_out else None
                    is_shown = is_shown or (is_popup and not is_held_out)
                    self._count(fire, is_held_out)
                yield fire, gate

    def _stops(self, fire: Fire) -> str | None:
        if fire.campaign not in self._has_limits:
            return None
        counted = self._counted.setdefault(fire.user, self._lua.table())
        gate: str | None = self._gates.stops(self._limits[fire.campaign], counted, fire.at)
        return gate

    def _count(self, fire: Fire, is_held_out: bool) -> None:
        if fire.campaign in self._has_limits:
            counted = self._counted[fire.user]
            self._gates.count(self._limits[fire.campaign], counted, fire.at, LONGEST_MS, is_held_out)


def judge(user: str, stories: Sequence[Explained], campaigns: Sequence[Live]) -> None:
    """Note in the *stories* of one user which gate would have stopped each match, and say so at their end."""
    fires: dict[int, tuple[Match, Fire]] = {}
    for story in stories:
        for match in (entry.fired for entry in story.events if entry.fired):
            fire = Fire(user, story.campaign, match.per, match.at, match.message_ids, match.reason, match.since)
            fires[id(fire)] = match, fire
    in_order = sorted((fire for _, fire in fires.values()), key=lambda fire: fire.at)
    for fire, gate in Gates(campaigns).judge(in_order):
        fires[id(fire)][0].gate = gate
    for story in stories:
        stopped = Counter(entry.fired.gate for entry in story.events if entry.fired and entry.fired.gate)
        if stopped:
            story.verdict += f"; live, gates would have stopped {sum(stopped.values())}: {by_gate(stopped)}"


def by_gate(stopped: Mapping[str, int]) -> str:
    """Return how many each gate has stopped, in words, the most first."""
    return ", ".join(f"{gate} {n:,}" for gate, n in sorted(stopped.items(), key=lambda item: (-item[1], item[0])))
