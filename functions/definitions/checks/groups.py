"""Check the target groups that are made of other groups."""

from collections.abc import Iterator, Sequence

from definitions.model.field_errors import choices
from definitions.model.group import TargetGroup


def check_references(groups: Sequence[TargetGroup], known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield a field (``groups[0].any_of[1]``) and a message for every reference that is unknown or circular.

    *known*: the ids of all groups.
    """
    by_id = {group.id: group for group in groups}
    for number, group in enumerate(groups):
        for field, name in group.others:
            here = f"groups[{number}].{field}"
            if name not in known:
                yield here, f"there is no target group '{name}'{choices(name, known)}"
            elif (path := _path(name, group.id, by_id)) is not None:
                yield here, f"a group cannot be made of itself: {' → '.join([group.id, *path])}"


def _path(start: str, goal: str, groups: dict[str, TargetGroup]) -> list[str] | None:
    """Return the shortest path of references from *start* to *goal*, or ``None``."""
    paths, seen = [[start]], {start}
    for path in paths:
        if path[-1] == goal:
            return path
        for _, name in groups[path[-1]].others if path[-1] in groups else ():
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None
