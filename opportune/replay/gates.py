"""Find the gates that would stop replayed matches, by the times of the events.

Caps are counted by the same ``gates.lua`` that runs live. Gates that need a customer (time zone, consent, opt-out) or
the state of the system (pauses, rate limits) stay open here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from lupa.luajit21 import LuaRuntime

from decider import scripts
from decider.policy import blocking_gate, policy
from opportune.replay.engine import Match
from opportune.replay.explain.model import Explained, ExplainedMatch
from shared.ruleset import Campaign, Quota

MAX_COUNTED = 50  # as in merge-visitor-4.lua
MAX_LIMIT_MS = 400 * 86_400_000


class LiveCampaign(NamedTuple):
    """A compiled campaign with the id and the caps of its site."""

    campaign: Campaign
    site: str
    caps: Mapping[str, Quota]


class Gates:
    """The gates of *campaigns* and the matches that they have let through. Call `judge` in order of time."""

    def __init__(self, campaigns: Sequence[LiveCampaign]) -> None:
        self._lua = LuaRuntime(unpack_returned_tuples=True)
        self._gates = self._lua.execute(scripts.module("gates"))
        self._live = {live.campaign.id: live for live in campaigns}
        policies = {live.campaign.id: policy(live.campaign, dict(live.caps)) for live in campaigns}
        self._priority = {name: each.priority for name, each in policies.items()}
        self._limits = {name: self._lua.table_from(each.limits, recursive=True) for name, each in policies.items()}
        self._has_limits = {name for name, each in policies.items() if each.limits}
        self._counted: dict[str, Any] = {}

    def judge(self, matches: Iterable[Match]) -> Iterator[tuple[Match, str | None]]:
        """Yield each match with the name of the gate that stops it, or ``None``."""
        for _, together in groupby(matches, key=lambda match: (match.user, match.at, match.message_ids[-1:])):
            ordered = sorted(together, key=lambda match: (-self._priority[match.campaign], match.campaign))
            is_shown = False
            for match in ordered:
                campaign, site, _ = self._live[match.campaign]
                is_popup = campaign.channel == "popup"
                closed_by = blocking_gate(campaign, site, match.user, match.at, None)
                is_held_out = closed_by == "holdout"
                gate = (None if is_held_out else closed_by) or self._stops(match)
                if gate is None and is_popup and is_shown:
                    gate = "priority"
                if gate is None:
                    gate = "holdout" if is_held_out else None
                    is_shown = is_shown or (is_popup and not is_held_out)
                    self._count(match, is_held_out)
                yield match, gate

    def join(self, visitor: str, user: str) -> None:
        """Count what *visitor* got for *user* too, so that a login cannot exceed a cap."""
        theirs, own = self._counted.get(visitor), self._counted.setdefault(user, self._lua.table())
        if theirs is not None and theirs is not own:
            for name, times in theirs.items():
                self._add_times(own, name, times)
        self._counted[visitor] = own

    def _add_times(self, own: Any, name: str, times: Any) -> None:
        merged = sorted([*(own[name].values() if own[name] else ()), *times.values()])
        own[name] = self._lua.table_from(merged[-MAX_COUNTED:])

    def _stops(self, match: Match) -> str | None:
        if match.campaign not in self._has_limits:
            return None
        counted = self._counted.setdefault(match.user, self._lua.table())
        gate: str | None = self._gates.stops(self._limits[match.campaign], counted, match.at)
        return gate

    def _count(self, match: Match, is_held_out: bool) -> None:
        if match.campaign in self._has_limits:
            counted = self._counted[match.user]
            self._gates.count(self._limits[match.campaign], counted, match.at, MAX_LIMIT_MS, is_held_out)


def judge(user: str, explanations: Sequence[Explained], campaigns: Sequence[LiveCampaign]) -> None:
    """Add to one user's explanations the gate that would stop each match, and the totals to their verdicts."""
    matches: dict[int, tuple[ExplainedMatch, Match]] = {}
    for explained in explanations:
        for match in (entry.fired for entry in explained.events if entry.fired):
            replayed = Match(
                user, explained.campaign, match.per, match.at, match.message_ids, match.reason, match.since
            )
            matches[id(replayed)] = match, replayed
    in_order = sorted((replayed for _, replayed in matches.values()), key=lambda each: each.at)
    for replayed, gate in Gates(campaigns).judge(in_order):
        matches[id(replayed)][0].gate = gate
    for explained in explanations:
        stopped = Counter(entry.fired.gate for entry in explained.events if entry.fired and entry.fired.gate)
        if stopped:
            explained.verdict += f"; live, gates would stop {sum(stopped.values())}: {count_by_gate(stopped)}"


def count_by_gate(stopped: Mapping[str, int]) -> str:
    """Return the number of matches per gate in words, the largest first."""
    return ", ".join(f"{gate} {n:,}" for gate, n in sorted(stopped.items(), key=lambda item: (-item[1], item[0])))
