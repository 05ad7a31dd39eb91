"""The live rulesets: for each site the compiled campaigns, and the current generation of targets."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from decider.event_index import EventIndex
from decider.store import Unreadable
from shared.contracts import Catalogue, SiteCatalogue
from shared.errors import OpportuneError
from shared.mongodb import Pointer
from shared.ruleset import Ruleset


@dataclass(frozen=True)
class SiteRules:
    """The current ruleset of one site, as an index, and the generation of its targets."""

    index: EventIndex
    generation: int


class Rulesets(Mapping[str, SiteRules]):
    """The rules of each site. Looking up a site in *unread*, which has rules that were never read, raises `Unreadable`.

    Such a site must not look like one without campaigns: its events would count as irrelevant, and its absences would
    be removed.
    """

    def __init__(self, sites: Mapping[str, SiteRules], unread: Collection[str] = ()) -> None:
        self.unread = unread
        self._sites = sites

    def __getitem__(self, site: str) -> SiteRules:
        if site in self.unread:
            raise Unreadable(f"the rules of site {site} could not be read", code="rules_unread")
        return self._sites[site]

    def __contains__(self, site: object) -> bool:
        return site in self._sites

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)


class RulesetStore(Protocol):
    """The source of published rulesets and their pointers."""

    def pointers(self) -> dict[str, Pointer]: ...
    def ruleset(self, site: str, version: int) -> Ruleset: ...


def load(store: RulesetStore, current: Rulesets | None, on_error: Callable[[OpportuneError], None]) -> Rulesets:
    """Return the live rulesets; an index of *current* is kept if its version is still the live one.

    A site whose ruleset cannot be read keeps the rules it had. *on_error* gets the error, and the other sites go on.
    """
    sites: dict[str, SiteRules] = {}
    unread: list[str] = []
    for site, pointer in store.pointers().items():
        if not pointer.ruleset:
            continue
        known = current[site] if current and site in current else None
        if known is not None and known.index.ruleset.version == pointer.ruleset:
            sites[site] = replace(known, generation=pointer.generation)
            continue
        try:
            sites[site] = SiteRules(EventIndex(store.ruleset(site, pointer.ruleset)), pointer.generation)
        except OpportuneError as error:
            on_error(error)
            if known is not None:
                sites[site] = known
            else:
                unread.append(site)
    return Rulesets(sites, unread)


def catalogue(rulesets: Rulesets) -> Catalogue:
    """Return what the Gateway needs to know of every site."""
    return Catalogue({site: _site_catalogue(rules.index) for site, rules in rulesets.items()}, list(rulesets.unread))


def _site_catalogue(index: EventIndex) -> SiteCatalogue:
    ruleset, events = index.ruleset, index.catalogue()
    types = {name: types for name, types in ruleset.event_types.items() if name in events}
    return SiteCatalogue(ruleset.keys, events, ruleset.identity, ruleset.adapters, types)
