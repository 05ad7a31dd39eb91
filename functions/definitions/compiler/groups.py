"""Compile target groups: what the Refresher looks up, and the groups made of others."""

import hashlib
from collections.abc import Iterable

from definitions.model.group import TargetGroup
from shared import groups as made_of_others
from shared import ruleset as compiled


def target_group(group: TargetGroup) -> compiled.TargetGroup:
    """Return *group* as a version holds it. A list is there by its name; nothing is written."""
    made = _made(group)
    is_of_all = made is not None and made.own and group.rule is None and group.list is None
    return compiled.TargetGroup(
        id=group.id,
        rule={} if is_of_all else group.rule,
        list=list_name(group.list) if group.list else None,
        uploaded=group.is_uploaded,
        made=made,
    )


def list_name(users: Iterable[str]) -> str:
    """Return the name of the list of *users*: a hash of its members, whatever their order."""
    digest = hashlib.blake2b(digest_size=12)
    for user in sorted(set(users)):
        digest.update(user.encode() + b"\n")
    return digest.hexdigest()


def compounds(named: Iterable[str], groups: Iterable[TargetGroup]) -> dict[str, compiled.Compound]:
    """Return those of *groups* that are made of others, as far as the *named* ones lead to them."""
    every = {group.id: made for group in groups if (made := _made(group))}
    return {name: every[name] for name in sorted(made_of_others.reached(named, every)) if name in every}


def _made(group: TargetGroup) -> compiled.Compound | None:
    if not any(group.others):
        return None
    is_found = group.rule is not None or group.list is not None
    return compiled.Compound(
        own=is_found or not (group.any_of or group.all_of),  # 'none_of' alone: of all customers
        any_of=list(group.any_of or ()),
        all_of=list(group.all_of or ()),
        none_of=list(group.none_of or ()),
    )
