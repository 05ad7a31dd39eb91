"""Bound what a match keeps of an event: a user's row must stay small, whatever the public endpoint gets."""

from typing import Any

import msgspec

MAX_NOTE_BYTES = 2048  # of the attributes, in JSON
MARK = "…"
_MARK_BYTES = 5  # with its quotes
_MIN_BYTES = 16  # that a shortened value may take
_SEPARATORS = 2  # a colon and a comma

_encode = msgspec.json.Encoder().encode


def shorten(value: Any, room: int = MAX_NOTE_BYTES) -> Any:
    """Return *value* so that its JSON has at most *room* bytes.

    Texts are cut, the longest first. Lists keep their first items. ``MARK`` stands for what is missing.
    """
    if _size(value) <= room:
        return value
    if isinstance(value, str):
        return _cut(value, room)
    if isinstance(value, list):
        return _shorten_list(value, room)
    return _shorten_object(value, room) if isinstance(value, dict) else MARK


def _size(value: Any) -> int:
    return len(_encode(value))


def _cut(text: str, room: int) -> str:
    """Return the longest beginning of *text* that fits with the mark."""
    fits, too_long = 0, min(len(text), room) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _size(text[:middle] + MARK) <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits] + MARK


def _shorten_list(values: list[Any], room: int) -> list[Any]:
    kept: list[Any] = []
    left = room - 2 - _MARK_BYTES
    for value in values:
        size = _size(value) + 1
        if size > left:
            break
        kept.append(value)
        left -= size
    if not kept and left > _MIN_BYTES:
        kept.append(shorten(values[0], left - 1))
    return [*kept, MARK]


def _shorten_object(value: dict[str, Any], room: int) -> dict[str, Any]:
    """Return *value* with all its small members, and the same room for each of the large ones."""
    left = room - 2
    kept: dict[str, Any] = {}
    is_whole = sum(_size(name) + _SEPARATORS + _MIN_BYTES for name in value) <= left
    if not is_whole:
        left -= 2 * _MARK_BYTES + _SEPARATORS
    for name, member in value.items():
        size = _size(name) + _SEPARATORS
        if not is_whole and (len(kept) + 1) * _MIN_BYTES + size > left:
            break
        kept[name] = member
        left -= size
    sizes = {name: _size(member) for name, member in kept.items()}
    share = _share(sorted(sizes.values()), left)
    short = {name: member if sizes[name] <= share else shorten(member, share) for name, member in kept.items()}
    return short if is_whole else {**short, MARK: MARK}


def _share(sizes: list[int], room: int) -> int:
    """Return how many bytes each may take, if those that need less leave the rest to the others. *sizes*: ascending."""
    for place, size in enumerate(sizes):
        share = room // (len(sizes) - place)
        if size > share:
            return share
        room -= size
    return room
