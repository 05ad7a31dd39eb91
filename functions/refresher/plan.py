"""Plan a refresh: which target groups to find users for, and which to copy from the previous generation."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from shared.conditions.parsing import parse_condition
from shared.ruleset import TargetGroup

ALL, CHANGED, ROLLBACK = "all", "changed", "rollback"
_LIST = "list "


class Plan(msgspec.Struct, omit_defaults=True):
    """How to make a new generation of targets. It is stored in ``control`` during the refresh.

    ruleset: the version that the groups come from.
    now: ms; relative dates count from it.
    find: groups whose users are found anew, with the fingerprint of each.
    keep: groups that are copied from the generation ``source``, with the fingerprint of each.
    """

    ruleset: int
    now: int
    find: dict[str, str] = {}
    keep: dict[str, str] = {}
    source: int = 0


def make_plan(
    control: Mapping[str, Any], groups: Collection[TargetGroup], requested: Collection[str], *, now: int
) -> Plan | None:
    """Return the plan for *requested*; ``None`` if there is nothing to do.

    control: the site's row.
    requested: `ALL`, `CHANGED` (groups whose definition changed since the last refresh), `ROLLBACK` (the previous
    generation), or ids of groups.

    Raises `InvalidDefinition` for an invalid rule.
    """
    ruleset = control["ruleset"]
    if set(requested) == {ROLLBACK}:  # any other request at the same time wins
        previous = control.get("previous")
        return Plan(ruleset, now, keep=previous["holds"], source=previous["generation"]) if previous else None
    wanted = {group.id: compute_fingerprint(group, control.get("lists") or {}) for group in groups if group.is_found}
    generation = control.get("generation") or 0
    if ALL in requested or not generation:
        return Plan(ruleset, now, find=wanted)
    holds = control.get("holds") or {}
    find = {
        group: fingerprint
        for group, fingerprint in wanted.items()
        if holds.get(group) != fingerprint or group in requested
    }
    if not find:
        return None
    keep = {group: holds[group] for group in wanted if group not in find}
    return Plan(ruleset, now, find, keep, generation if keep else 0)


def compute_fingerprint(group: TargetGroup, uploads: Mapping[str, Any]) -> str:
    """Return a text that changes with the rule or the list of *group*. *uploads*: the uploaded lists by group."""
    if group.rule is not None:
        parse_condition(group.rule, field=f"{group.id}.rule")
        rule = msgspec.json.encode(group.rule, order="sorted")
        return "rule " + hashlib.blake2b(rule, digest_size=8).hexdigest()
    name: str | None = (uploads.get(group.id) or {}).get("list") if group.uploaded else group.list
    return _LIST + (name or "")


def extract_list(fingerprint: str) -> str:
    """Return the name of the list in a fingerprint; empty if nothing was uploaded yet."""
    return fingerprint.removeprefix(_LIST)
