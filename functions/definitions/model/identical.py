"""Compare definitions strictly: in Python 1 equals true, in a condition it does not."""

from collections.abc import Mapping
from typing import Any

import msgspec


def identical(one: Any, other: Any) -> bool:
    """Return whether *one* and *other* are the same all the way down; the order of a map's keys does not count."""
    if isinstance(one, msgspec.Struct) and type(one) is type(other):
        return identical(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(identical(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(identical, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)
