"""Definitions for tests, made of plain data."""

from collections.abc import Mapping
from typing import Any

from definitions.checks.cross_check import cross_check
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.group import TargetGroup
from definitions.model.site import Site
from shared.errors import InvalidDefinition


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
