"""What a refresh has to do: which target groups' users to look for anew, and which to take over as they are."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from shared.conditions.parsing import parse_condition
from shared.ruleset import TargetGroup

ALL, CHANGED, BACK = "all", "changed", "back"
_LIST = "list "


class Plan(msgspec.Struct, omit_defaults=True):
    """A new generation of targets, as it lies in ``control`` while it is made.

    ``ruleset``: the version whose groups they are. ``now``: ms, what relative dates count from. ``find``: the groups
    whose users are looked for, each with the `mark` of its definition; ``keep``: those that are copied from the
    generation ``source``, with theirs.
    """

    ruleset: int
    now: int
    find: dict[str, str] = {}
    keep: dict[str, str] = {}
    source: int = 0


def plan(
    control: Mapping[str, Any], groups: Collection[TargetGroup], wishes: Collection[str], *, now: int
) -> Plan | None:
    """Return what *wishes* come to; ``None``: there is nothing to do.

    *control*: the site's row. *wishes*: `ALL`, `CHANGED` (what is not defined as it was in the last refresh),
    `BACK` (the generation before), or ids of groups. Raises `InvalidDefinition` for a rule that cannot be read.
    """
    ruleset = control["ruleset"]
    if set(wishes) == {BACK}:  # whoever wants something new at the same time gets that
        before = control.get("previous")
        return Plan(ruleset, now, keep=before["holds"], source=before["generation"]) if before else None
    wanted = {group.id: mark(group, control.get("lists") or {}) for group in groups if group.is_found}
    generation = control.get("generation") or 0
    if ALL in wishes or not generation:
        return Plan(ruleset, now, find=wanted)
    holds = control.get("holds") or {}
    find = {group: as_is for group, as_is in wanted.items() if holds.get(group) != as_is or group in wishes}
    if not find:
        return None
    keep = {group: holds[group] for group in wanted if group not in find}
    return Plan(ruleset, now, find, keep, generation if keep else 0)


def mark(group: TargetGroup, uploads: Mapping[str, Any]) -> str:
    """Return what changes whenever the rule or the list of *group* does; *uploads*: what was uploaded, by group."""
    if group.rule is not None:
        parse_condition(group.rule, field=f"{group.id}.rule")
        rule = msgspec.json.encode(group.rule, order="sorted")
        return "rule " + hashlib.blake2b(rule, digest_size=8).hexdigest()
    written: str | None = (uploads.get(group.id) or {}).get("list") if group.uploaded else group.list
    return _LIST + (written or "")


def list_of(mark: str) -> str:
    """Return the name of the list that a `mark` is of; empty where nothing was uploaded yet."""
    return mark.removeprefix(_LIST)
