"""Definitions for tests: made of plain data, or loaded from a folder."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pymongo.database import Database

from definitions.checks.check import Examined, check
from definitions.checks.check import examine as examine_sources
from definitions.checks.cross_check import cross_check
from definitions.compiler.ruleset import compile_definitions
from definitions.loading.folder import load
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.group import TargetGroup
from definitions.model.site import Site
from definitions.publishing import publish as publishing
from shared.contracts import WriteKey
from shared.errors import InvalidDefinition
from shared.mongodb import Document


def define(data: Mapping[str, Any]) -> Definitions:
    """Return *data* (``site``, ``events``, ``groups``, ``campaigns``) as checked definitions.

    Raises `InvalidDefinitions` with everything that does not fit together.
    """
    defined = Definitions(
        site=validate(Site, data["site"]),
        events=tuple(validate(Event, each) for each in data.get("events", ())),
        groups=tuple(validate(TargetGroup, each) for each in data.get("groups", ())),
        campaigns=tuple(validate(Campaign, each) for each in data.get("campaigns", ())),
    )
    found = cross_check(*defined)
    if found:
        raise InvalidDefinitions(InvalidDefinition(message, field=field) for field, message in found)
    return defined


def load_definitions(path: Path, env: Mapping[str, str] | None = None) -> Definitions:
    """Return the checked definitions of a folder or a campaign file; raises `InvalidFiles`."""
    return check(load(path), env or {})


def examine(path: Path, now: datetime) -> Examined:
    """Return definitions, errors and warnings of a folder or a campaign file."""
    return examine_sources(load(path), {}, now)


def publish(database: Database[Document], definitions: Definitions, keys: Sequence[WriteKey]) -> publishing.Published:
    """Compile *definitions* and make them live."""
    return publishing.publish(database, compile_definitions(definitions, keys))
