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


def of_file(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a file of this *kind*."""
    made = schema(_MODELS[kind])
    if kind == "group":
        users = made["properties"]["list"]
        told = {name: users.pop(name) for name in ("description", "examples") if name in users}
        # A file may name another one with the user ids, which is read before the model sees them.
        made["properties"]["list"] = {**told, "anyOf": [{"type": "string", "minLength": 1}, users]}
    return made


def text(kind: Kind) -> str:
    """Return the schema as it is saved: indented JSON with a line break at its end."""
    return msgspec.json.format(msgspec.json.encode(of_file(kind)), indent=2).decode() + "\n"
