"""What a new version changes of the one that is live: for people who are about to publish it.

Pure. Both sides are compared as they were written, field by field; a write key by its hash, because a secret one is
not in the files.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec

from definitions.model.field_errors import join
from definitions.model.identical import identical
from definitions.publishing.versions import Content

Kind = Literal["site", "event", "group", "campaign"]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field that differs: what it was and what it is; ``None`` where it is not there."""

    field: str
    was: Any = None
    now: Any = None


# What is written is the same, and what becomes of it is not.
COMPILED = Field("compiled", "by another release", "by this one")


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A definition that is new, is gone, or is another one.

    ``dropped``: the key of the trigger whose progress is lost, because the campaign's trigger is another one or the
    campaign is gone.
    """

    kind: Kind
    id: str
    what: Literal["added", "removed", "changed"]
    fields: tuple[Field, ...] = ()
    dropped: str | None = None


def changes(live: Content | None, new: Content) -> tuple[Change, ...]:
    """Return what *new* changes of *live*; of nothing, where the site was never published."""
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


def _compiled(live: Content, new: Content, known: Collection[str]) -> Iterator[Change]:
    """Yield the campaigns that are written as they were, and whose trigger is another one all the same."""
    before = {campaign.id: campaign.trigger.key for campaign in live.ruleset.campaigns}
    for campaign in new.ruleset.campaigns:
        if campaign.id not in known and before.get(campaign.id, campaign.trigger.key) != campaign.trigger.key:
            yield Change("campaign", campaign.id, "changed", (COMPILED,))


def _of_site(live: Content | None, new: Content) -> Iterator[Change]:
    site = new.source["site"]
    if live is None:
        yield Change("site", site["id"], "added")
        return
    fields = list(_fields(live.source["site"], site))
    if live.ruleset.keys != new.ruleset.keys and not any(each.field.startswith("keys") for each in fields):
        fields.append(Field("keys", "another secret", "a secret of the environment"))
    if fields:
        yield Change("site", site["id"], "changed", tuple(fields))


def _of_others(live: Content | None, new: Content) -> Iterator[Change]:
    kinds: tuple[Kind, ...] = ("event", "group", "campaign")
    for kind in kinds:
        before, after = _by_id(live, kind), _by_id(new, kind)
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name), after.get(name)
            if was is None or now is None:
                yield Change(kind, name, "removed" if now is None else "added")
            elif fields := tuple(_fields(was, now)):
                yield Change(kind, name, "changed", fields)


def _by_id(content: Content | None, kind: Kind) -> dict[str, Any]:
    known_by = "name" if kind == "event" else "id"
    return {each[known_by]: each for each in content.source.get(f"{kind}s", ())} if content else {}


def _fields(before: Any, after: Any, field: str = "") -> Iterator[Field]:
    """Yield the smallest parts of two definitions that differ."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _fields(before.get(name), after.get(name), join(field, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _fields(one, other, f"{field}[{number}]")
    elif not identical(before, after):
        yield Field(field, before, after)
