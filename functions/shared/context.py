"""The context of an event, as far as conditions and content can read it: ``context.device.type`` and the like.

Trackers send it with each call, in the form of Segment's specification. Everything here is text.
"""

from collections.abc import Iterable, Mapping
from typing import Any

ROOT = "context"
NAMES = (
    "context.locale",
    "context.timezone",
    "context.device.type",
    *(f"context.page.{part}" for part in ("path", "referrer", "search", "title", "url")),
    *(f"context.campaign.{part}" for part in ("content", "medium", "name", "source", "term")),
)
TIMEZONE = "context.timezone"
MAX_LENGTH = 1024  # characters; longer text is cut


def is_context(name: str) -> bool:
    """Return whether the attribute *name* of an event is a part of its context."""
    return name.split(".", 1)[0] == ROOT


def project(attributes: Mapping[str, Any], context: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return what *names* name of *attributes* and of *context*."""
    return with_context({name: attributes[name] for name in names if name in attributes}, context, names)


def with_context(attributes: Mapping[str, Any], context: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return *attributes* with what *names* name of *context*. It takes the place of attributes of the same name."""
    own = {name: value for name, value in attributes.items() if not is_context(name)}
    found = select(context, names)
    return {**own, ROOT: found} if found else own


def select(context: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the text in *context* that *names* name, each such as ``context.page.path``; other names are ignored."""
    found: dict[str, Any] = {}
    for name in names:
        if name not in NAMES:
            continue
        _, *path = name.split(".")
        value = context
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, str) and value:
            place = found if len(path) == 1 else found.setdefault(path[0], {})
            place[path[-1]] = value[:MAX_LENGTH]
    return found


def timezone_of(attributes: Mapping[str, Any]) -> str | None:
    """Return the time zone of the device that has sent an event with *attributes*, unchecked."""
    context = attributes.get(ROOT)
    zone = context.get("timezone") if isinstance(context, Mapping) else None
    return zone if isinstance(zone, str) else None
