"""The book of rules: for each site the current plan and the current generation of targets."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from decider.relevance import Plan
from shared.contracts import Catalogue, SiteCatalogue
from shared.mongodb import Pointer
from shared.ruleset import Ruleset


class Rulebook(NamedTuple):
    """What is current for one site."""

    plan: Plan
    generation: int


Book = Mapping[str, Rulebook]


class Library(Protocol):
    """Where published rulesets and their pointers come from."""

    def pointers(self) -> dict[str, Pointer]: ...
    def ruleset(self, site: str, version: int) -> Ruleset: ...


def load(library: Library, present: Book | None) -> Book:
    """Return the current book; a plan whose version did not change is kept as it is."""
    book: dict[str, Rulebook] = {}
    for site, pointer in library.pointers().items():
        if not pointer.ruleset:
            continue
        known = present.get(site) if present else None
        if known is None or known.plan.ruleset.version != pointer.ruleset:
            book[site] = Rulebook(Plan(library.ruleset(site, pointer.ruleset)), pointer.generation)
        else:
            book[site] = known._replace(generation=pointer.generation)
    return book


def catalogue(book: Book) -> Catalogue:
    """Return what the Gateway needs to know of every site."""
    return Catalogue(
        {
            site: SiteCatalogue(keys=rules.plan.ruleset.keys, events=rules.plan.catalogue())
            for site, rules in book.items()
        }
    )
