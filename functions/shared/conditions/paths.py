"""Find the values at a path of attributes.

``cart.total`` is the part of an object, or the flat name ``cart.total`` that some trackers send.
``products[].category`` is that part of each element of a list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

EACH = "[]"


def get_value(value: Any, path: Sequence[str]) -> Any:
    """Return the value at *path*, which names no lists; ``None`` if there is none. A flat name goes first."""
    if not path:
        return value
    if not isinstance(value, Mapping):
        return None
    for length in range(len(path), 1, -1):
        flat = ".".join(path[:length])
        if flat in value:
            return get_value(value[flat], path[length:])
    return get_value(value.get(path[0]), path[1:])


def get_values(value: Any, path: Sequence[str]) -> list[Any]:
    """Return the values at *path* in all elements of the lists that it names; without ``None``."""
    place = next((n for n, part in enumerate(path) if part.endswith(EACH)), None)
    if place is None:
        found = get_value(value, path)
        return [] if found is None else [found]
    elements = get_value(value, [*path[:place], path[place].removesuffix(EACH)])
    if not isinstance(elements, list | tuple):
        return []
    return [found for element in elements for found in get_values(element, path[place + 1 :])]


def names_sent(attribute: str) -> set[str]:
    """Return the names under which a client may send *attribute*: its first part, or a flat name."""
    path = attribute.split(".")
    names = {".".join(path[:length]) for length in range(1, len(path) + 1)}
    return {name.removesuffix(EACH) for name in names if EACH not in name.removesuffix(EACH)}
