"""Everything that is defined for one site."""

from typing import NamedTuple

from definitions.model.campaign import Campaign
from definitions.model.event import Event
from definitions.model.group import TargetGroup
from definitions.model.site import Site


class Definitions(NamedTuple):
    """A site with its events, target groups and campaigns; `checks.check` returns them checked together."""

    site: Site
    events: tuple[Event, ...] = ()
    groups: tuple[TargetGroup, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
