"""Decide whether a user belongs to a target group, given the rules and lists that the user was found in.

A refresh finds the users of rules and lists. Groups that combine other groups are evaluated when they are needed.
A campaign can therefore change its target groups, and a group its parts, without a new refresh.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from shared.ruleset import Campaign, Compound


def belongs(group: str, found: Container[str], compounds: Mapping[str, Compound]) -> bool:
    """Return whether a user in the rules and lists *found* belongs to *group*."""
    compound = compounds.get(group)
    if compound is None:
        return group in found
    return (
        (not compound.own or group in found)
        and (not compound.any_of or any(belongs(each, found, compounds) for each in compound.any_of))
        and all(belongs(each, found, compounds) for each in compound.all_of)
        and not any(belongs(each, found, compounds) for each in compound.none_of)
    )


def is_target(campaign: Campaign, found: Container[str]) -> bool:
    """Return whether a user in the rules and lists *found* is a target of *campaign*."""
    return campaign.everyone or any(belongs(group, found, campaign.compounds) for group in campaign.groups)


def membership_expression(group: str, compounds: Mapping[str, Compound]) -> dict[str, Any]:
    """Return `belongs` as a MongoDB expression over the field ``groups``."""
    compound = compounds.get(group)
    if compound is None:
        return _contains(group)
    parts: list[dict[str, Any]] = [_contains(group)] if compound.own else []
    parts += [membership_expression(each, compounds) for each in compound.all_of]
    if compound.any_of:
        parts.append({"$or": [membership_expression(each, compounds) for each in compound.any_of]})
    if compound.none_of:
        parts.append({"$not": {"$or": [membership_expression(each, compounds) for each in compound.none_of]}})
    return {"$and": parts}


def expand(groups: Iterable[str], compounds: Mapping[str, Compound]) -> set[str]:
    """Return *groups* and, recursively, the groups that they combine."""
    todo, seen = list(groups), set[str]()
    while todo:
        group = todo.pop()
        if group not in seen:
            seen.add(group)
            compound = compounds.get(group, Compound())
            todo += [*compound.any_of, *compound.all_of, *compound.none_of]
    return seen


def _contains(group: str) -> dict[str, Any]:
    return {"$in": [{"$literal": group}, "$groups"]}
