"""What the readers of other products' events share. They return items in the format of the tracking API."""

from collections.abc import Iterable
from typing import Any

import msgspec

Item = dict[str, Any]


def create_event(
    name: Any, at: Any, *, user: Any = None, visitor: Any = None, message_id: Any = None, properties: Any = None
) -> Item:
    """Return an item of type ``track``. Empty fields are missing in it."""
    item = {
        "type": "track",
        "event": name,
        "timestamp": at,
        "userId": user,
        "anonymousId": visitor,
        "messageId": message_id,
        "properties": properties,
    }
    return without_empty(item)


def add_login(item: Item) -> list[Item]:
    """Return *item*, after a login if it names both its user and its visitor: the product merges the two, too."""
    if not ("userId" in item and "anonymousId" in item):
        return [item]
    login: Item = {name: item[name] for name in ("timestamp", "sentAt", "userId", "anonymousId") if name in item}
    return [{"type": "identify", **login}, item]


def drop_known_logins(items: Iterable[Item], owners: dict[Any, Any]) -> list[Item]:
    """Return *items* without the logins that *owners* knows: the user of each visitor. Add the others to it."""
    kept = []
    for item in items:
        visitor, user = item.get("anonymousId"), item.get("userId")
        if item["type"] == "identify" and "traits" not in item and isinstance(visitor, str | int):
            if owners.get(visitor) == user:
                continue
            owners[visitor] = user
        kept.append(item)
    return kept


def without_empty(item: Item) -> Item:
    """Return *item* without fields that are ``None`` or empty text."""
    return {name: value for name, value in item.items() if value is not None and value != ""}


def read_object(value: Any) -> Item:
    """Return an object, which may be written as JSON text; empty for anything else."""
    if isinstance(value, str) and value.strip():
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
