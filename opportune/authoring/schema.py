"""The JSON Schemas of the files in a folder of definitions, for editors."""

from typing import Any, Literal, get_args

import msgspec

from definitions.model.campaign import Campaign
from definitions.model.event import Event
from definitions.model.fields import Definition
from definitions.model.group import TargetGroup
from definitions.model.json_schema import schema
from definitions.model.site import Site

Kind = Literal["campaign", "event", "group", "site"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_MODELS: dict[Kind, type[Definition]] = {"campaign": Campaign, "event": Event, "group": TargetGroup, "site": Site}


def file_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the files of this *kind*."""
    made = schema(_MODELS[kind])
    if kind == "group":
        # In a file, the list may be the name of another file, which is read before the model sees it.
        users = made["properties"]["list"]
        notes = {name: users.pop(name) for name in ("description", "examples") if name in users}
        made["properties"]["list"] = {**notes, "anyOf": [{"type": "string", "minLength": 1}, users]}
    return made


def text(kind: Kind) -> str:
    """Return the schema as indented JSON with a final line break."""
    return msgspec.json.format(msgspec.json.encode(file_schema(kind)), indent=2).decode() + "\n"
