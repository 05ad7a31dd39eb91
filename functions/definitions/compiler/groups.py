"""Compile target groups: what the Refresher looks up, and the groups that are made of others."""

import hashlib
from collections.abc import Iterable

from definitions.model.group import TargetGroup
from shared import groups as compound_groups
from shared import ruleset as compiled


def compile_group(group: TargetGroup) -> compiled.TargetGroup:
    """Return *group* as a version holds it; it refers to a list of users by the list's name."""
    compound = _compound(group)
    # 'none_of' alone starts from all customers, which is what an empty rule finds.
    is_everyone = compound is not None and compound.own and group.rule is None and group.list is None
    return compiled.TargetGroup(
        id=group.id,
        rule={} if is_everyone else group.rule,
        list=list_name(group.list) if group.list else None,
        uploaded=group.is_uploaded,
        made=compound,
    )


def list_name(users: Iterable[str]) -> str:
    """Return the name of a list of users: a hash of its members, independent of their order."""
    digest = hashlib.blake2b(digest_size=12)
    for user in sorted(set(users)):
        digest.update(user.encode() + b"\n")
    return digest.hexdigest()


def compounds(names: Iterable[str], groups: Iterable[TargetGroup]) -> dict[str, compiled.Compound]:
    """Return those of *groups* that are made of others and that *names* refer to, directly or not."""
    every = {group.id: compound for group in groups if (compound := _compound(group))}
    return {name: every[name] for name in sorted(compound_groups.expand(names, every)) if name in every}


def _compound(group: TargetGroup) -> compiled.Compound | None:
    if not any(group.others):
        return None
    has_members = group.rule is not None or group.list is not None
    return compiled.Compound(
        own=has_members or not (group.any_of or group.all_of),
        any_of=list(group.any_of or ()),
        all_of=list(group.all_of or ()),
        none_of=list(group.none_of or ()),
    )
