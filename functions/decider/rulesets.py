"""The book of rules: for each site the current plan and the current generation of targets."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple, Protocol

from decider.event_index import EventIndex
from decider.store import Unreadable
from shared.contracts import Catalogue, SiteCatalogue
from shared.errors import OpportuneError
from shared.mongodb import Pointer
from shared.ruleset import Ruleset


class SiteRules(NamedTuple):
    """What is current for one site."""

    plan: EventIndex
    generation: int


class Rulesets(Mapping[str, SiteRules]):
    """The rules of each site. Whoever asks for one of *unread*, of which no rules were ever read, gets `Unreadable`.

    It must not pass for a site that has none: its events would be taken for irrelevant, and its absences for over.
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
    """Where published rulesets and their pointers come from."""

    def pointers(self) -> dict[str, Pointer]: ...
    def ruleset(self, site: str, version: int) -> Ruleset: ...


def load(library: RulesetStore, present: Rulesets | None, report: Callable[[OpportuneError], None]) -> Rulesets:
    """Return the current book; a plan whose version did not change is kept as it is.

    A site whose ruleset cannot be read is *reported* and keeps the rules it had: it must not stop the others.
    """
    sites: dict[str, SiteRules] = {}
    unread: list[str] = []
    for site, pointer in library.pointers().items():
        if not pointer.ruleset:
            continue
        known = present[site] if present and site in present else None
        if known is None or known.plan.ruleset.version != pointer.ruleset:
            try:
                sites[site] = SiteRules(EventIndex(library.ruleset(site, pointer.ruleset)), pointer.generation)
            except OpportuneError as error:
                report(error)
                if known is not None:
                    sites[site] = known
                else:
                    unread.append(site)
        else:
            sites[site] = known._replace(generation=pointer.generation)
    return Rulesets(sites, unread)


def catalogue(book: Rulesets) -> Catalogue:
    """Return what the Gateway needs to know of every site."""
    return Catalogue(
        {
            site: SiteCatalogue(rules.plan.ruleset.keys, rules.plan.catalogue(), rules.plan.ruleset.identity)
            for site, rules in book.items()
        },
        list(book.unread),
    )
