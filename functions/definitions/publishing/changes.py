"""Compare a new version with the live one, for people who are about to publish it.

Both are compared as they were written, field by field. Write keys are compared by their hashes, because the files do
not have the secret ones.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec

from definitions.compiler.ruleset import Bundle
from definitions.model.field_errors import join
from definitions.model.identical import identical

Kind = Literal["site", "event", "group", "campaign"]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field that differs: its value before and now; ``None`` if the field is missing."""

    field: str
    was: Any = None
    now: Any = None


# The definition is the same, but another release of the compiler makes something else of it.
COMPILED = Field("compiled", "by another release", "by this one")


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition that was added, removed or changed.

    ``fields``: the fields that differ.
    ``dropped``: the key of a trigger whose progress is lost, because it changed or its campaign was removed.
    """

    kind: Kind
    id: str
    what: Literal["added", "removed", "changed"]
    fields: tuple[Field, ...] = ()
    dropped: str | None = None


def changes(live: Bundle | None, new: Bundle) -> tuple[Change, ...]:
    """Return what *new* changes in *live*; ``None`` stands for a site that was never published."""
    keys = {campaign.id: campaign.trigger.key for campaign in live.ruleset.campaigns} if live else {}
    kept = {campaign.trigger.key for campaign in new.ruleset.campaigns}
    found = [*_of_site(live, new), *_of_others(live, new)]
    if live is not None and not new.is_same(live):
        found += _compiled(live, new, {each.id for each in found if each.kind == "campaign"})
        if not found:
            found.append(Change("site", new.source["site"]["id"], "changed", (COMPILED,)))
    return tuple(
        msgspec.structs.replace(each, dropped=keys[each.id])
        if each.kind == "campaign" and each.id in keys and keys[each.id] not in kept
        else each
        for each in found
    )


def _compiled(live: Bundle, new: Bundle, known: Collection[str]) -> Iterator[Change]:
    """Yield the campaigns that did not change and nevertheless compile to another trigger."""
    before = {campaign.id: campaign.trigger.key for campaign in live.ruleset.campaigns}
    for campaign in new.ruleset.campaigns:
        if campaign.id not in known and before.get(campaign.id, campaign.trigger.key) != campaign.trigger.key:
            yield Change("campaign", campaign.id, "changed", (COMPILED,))


def _of_site(live: Bundle | None, new: Bundle) -> Iterator[Change]:
    site = new.source["site"]
    if live is None:
        yield Change("site", site["id"], "added")
        return
    fields = list(_fields(live.source["site"], site))
    if live.ruleset.keys != new.ruleset.keys and not any(each.field.startswith("keys") for each in fields):
        fields.append(Field("keys", "another secret", "a secret of the environment"))
    if fields:
        yield Change("site", site["id"], "changed", tuple(fields))


def _of_others(live: Bundle | None, new: Bundle) -> Iterator[Change]:
    kinds: tuple[Kind, ...] = ("event", "group", "campaign")
    for kind in kinds:
        before, after = _by_id(live, kind), _by_id(new, kind)
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name), after.get(name)
            if was is None or now is None:
                yield Change(kind, name, "removed" if now is None else "added")
            elif fields := tuple(_fields(was, now)):
                yield Change(kind, name, "changed", fields)


def _by_id(bundle: Bundle | None, kind: Kind) -> dict[str, Any]:
    known_by = "name" if kind == "event" else "id"
    return {each[known_by]: each for each in bundle.source.get(f"{kind}s", ())} if bundle else {}


def _fields(before: Any, after: Any, field: str = "") -> Iterator[Field]:
    """Yield the smallest differing parts of two definitions."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _fields(before.get(name), after.get(name), join(field, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _fields(one, other, f"{field}[{number}]")
    elif not identical(before, after):
        yield Field(field, before, after)
