"""Who belongs to a target group, where it is known which rules and lists a user is in.

A refresh finds the users of rules and lists. What is made of other groups is worked out by whoever asks, so that
a campaign may change its target groups, and a group what it is made of, without anything being looked for again.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any

from shared.ruleset import Campaign, Compound


def belongs(group: str, found: Container[str], compounds: Mapping[str, Compound]) -> bool:
    """Return whether somebody who is in the rules and lists *found* belongs to *group*."""
    made = compounds.get(group)
    if made is None:
        return group in found
    return (
        (not made.own or group in found)
        and (not made.any_of or any(belongs(each, found, compounds) for each in made.any_of))
        and all(belongs(each, found, compounds) for each in made.all_of)
        and not any(belongs(each, found, compounds) for each in made.none_of)
    )


def is_target(campaign: Campaign, found: Container[str]) -> bool:
    """Return whether somebody who is in the rules and lists *found* is a target of *campaign*."""
    return campaign.everyone or any(belongs(group, found, campaign.compounds) for group in campaign.groups)


def expression(group: str, compounds: Mapping[str, Compound]) -> dict[str, Any]:
    """Return `belongs` as an expression of MongoDB over the field ``groups``."""
    made = compounds.get(group)
    if made is None:
        return _in(group)
    parts: list[dict[str, Any]] = [_in(group)] if made.own else []
    parts += [expression(each, compounds) for each in made.all_of]
    if made.any_of:
        parts.append({"$or": [expression(each, compounds) for each in made.any_of]})
    if made.none_of:
        parts.append({"$not": {"$or": [expression(each, compounds) for each in made.none_of]}})
    return {"$and": parts}


def reached(groups: Iterable[str], compounds: Mapping[str, Compound]) -> set[str]:
    """Return *groups* and all that they are made of."""
    todo, seen = list(groups), set[str]()
    while todo:
        group = todo.pop()
        if group not in seen:
            seen.add(group)
            made = compounds.get(group, Compound())
            todo += [*made.any_of, *made.all_of, *made.none_of]
    return seen


def _in(group: str) -> dict[str, Any]:
    return {"$in": [{"$literal": group}, "$groups"]}
