"""A parsed condition: a small tree of comparisons and groups."""

from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["all", "any", "none"]


@dataclass(frozen=True)
class Comparison:
    """One comparison. ``path``: the attribute's name, split at its dots."""

    path: tuple[str, ...]
    operator: str
    operand: Any


@dataclass(frozen=True)
class Group:
    """Parts of which all, any or none must hold. An empty ``all`` is true."""

    mode: Mode
    parts: "tuple[Condition, ...]"


Condition = Comparison | Group


def find_attributes(condition: Condition) -> set[str]:
    """Return the attributes that *condition* reads, as dotted names."""
    if isinstance(condition, Comparison):
        return {".".join(condition.path)}
    return {name for part in condition.parts for name in find_attributes(part)}
